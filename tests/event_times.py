"""Times as clients write them, in every zone. Must not look up the zones at each draw: that is slow."""

from zoneinfo import ZoneInfo, available_timezones

from hypothesis import strategies as st

_zones = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
written_times = st.datetimes(timezones=_zones).map(lambda time: time.isoformat())
