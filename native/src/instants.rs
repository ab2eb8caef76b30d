//! ISO 8601 with a zone to microseconds since 1970: the usual forms of `schema/instants.py`, and only where
//! there is no doubt about the result. Anything else is None, which means "let the others say".

const YEAR_1: i64 = -62_135_596_800_000_000;
const YEAR_10000: i64 = 253_402_300_800_000_000;
const DAYS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// `YYYY-MM-DD`, `T` or a blank, `HH:MM:SS`, a fraction or none, `Z` or `±HH`, `±HHMM`, `±HH:MM`.
/// Digits finer than a microsecond are cut off.
pub fn instant(text: &[u8]) -> Option<i64> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let marks = [head[4], head[7], head[13], head[16]];
    if marks != *b"--::" || !matches!(head[10], b'T' | b' ') {
        return None;
    }
    let year = pair(head[0], head[1])? * 100 + pair(head[2], head[3])?;
    let days = days(year, pair(head[5], head[6])?, pair(head[8], head[9])?)?;
    let seconds = clock(pair(head[11], head[12])?, pair(head[14], head[15])?)? * 60
        + pair(head[17], head[18]).filter(|second| *second < 60)?;
    let (micros, zone) = fraction(tail)?;
    let ticks = (days * 86_400 + seconds - offset(zone)? * 60) * 1_000_000 + micros;
    (YEAR_1..YEAR_10000).contains(&ticks).then_some(ticks)
}

#[inline]
fn pair(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Minutes since midnight.
fn clock(hour: i64, minute: i64) -> Option<i64> {
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Days since 1970-01-01 of a day in the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date
/// algorithms", `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = DAYS.get(usize::try_from(month - 1).ok()?)? + i64::from(leap && month == 2);
    if year == 0 || day < 1 || day > last {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Microseconds of a fraction, if there is one, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, zone) = digits.split_at_checked(length).filter(|_| length > 0)?;
    let of = |place: usize| i64::from(digits.get(place).map_or(0, |digit| digit - b'0'));
    Some(((0..6).fold(0, |sum, place| sum * 10 + of(place)), zone))
}

/// Minutes that a zone is ahead.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone.split_first()? {
        (b'Z', []) => return Some(0),
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        _ => return None,
    };
    let ahead = match *digits {
        [a, b] => clock(pair(a, b)?, 0),
        [a, b, c, d] | [a, b, b':', c, d] => clock(pair(a, b)?, pair(c, d)?),
        _ => None,
    };
    Some(sign * ahead?)
}
