//! Tokens of strict JSON, read from bytes. Whatever is not plain is no token: the caller gives up.
//! Must not know rows. No value of the body may get into a panic's message: no `str` is sliced here.

pub const LONGEST_NUMBER: usize = 64;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn place(&self) -> usize {
        self.at
    }

    pub fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next byte; 0 at the end, which no token begins with.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.byte(self.at)
    }

    #[inline]
    fn byte(&self, place: usize) -> u8 {
        self.bytes.get(place).copied().unwrap_or(0)
    }

    #[inline]
    pub fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Passes `byte` if it comes next.
    #[inline]
    pub fn passes(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    /// Passes `text` if it comes next.
    #[inline]
    pub fn passes_all(&mut self, text: &[u8]) -> bool {
        let found = begins(self.rest(), text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Passes the colon after a key, and the blanks around it.
    #[inline]
    pub fn colon(&mut self) -> Option<()> {
        self.blanks();
        self.passes(b':').then(|| self.blanks())
    }

    /// After a value: Some(true) if another follows, Some(false) if `end` does.
    #[inline]
    pub fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.blanks();
        if self.passes(b',') {
            self.blanks();
            return Some(true);
        }
        self.passes(end).then_some(false)
    }

    /// A text of ASCII without escapes, as it stands between its quotes.
    #[inline]
    pub fn plain_text(&mut self) -> Option<&'a [u8]> {
        if !self.passes(b'"') {
            return None;
        }
        let (end, ascii) = self.span();
        if !ascii || self.byte(end) != b'"' {
            return None;
        }
        let text = self.bytes.get(self.at..end);
        self.at = end + 1;
        text
    }

    /// A text of at most `most` characters, appended to `into` as UTF-8.
    #[inline]
    pub fn text(&mut self, into: &mut Vec<u8>, most: usize) -> Option<()> {
        if !self.passes(b'"') {
            return None;
        }
        let start = into.len();
        loop {
            let (end, ascii) = self.span();
            let piece = self.bytes.get(self.at..end)?;
            if !ascii && std::str::from_utf8(piece).is_err() {
                return None;
            }
            into.extend_from_slice(piece);
            self.at = end;
            if self.passes(b'"') {
                break;
            }
            self.escape(into)?;
        }
        let text = into.get(start..)?;
        (text.len() <= most || characters(text) <= most).then_some(())
    }

    /// Where the run of bytes that stand for themselves ends, and whether all of them are ASCII.
    #[inline]
    fn span(&self) -> (usize, bool) {
        let mut place = self.at;
        let mut high = 0;
        while let Some(eight) = self.bytes.get(place..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*eight);
            let stop = zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5C)) | below_blank(word);
            if stop != 0 {
                // The lowest mark is exact; marks above it need not be.
                let passed = stop.trailing_zeros() & !7;
                high |= word & ((1 << passed) - 1);
                return (place + passed as usize / 8, high & HIGHS == 0);
            }
            high |= word;
            place += 8;
        }
        while !matches!(self.byte(place), 0..=0x1F | b'"' | b'\\') {
            high |= u64::from(self.byte(place));
            place += 1;
        }
        (place, high & HIGHS == 0)
    }

    #[cold]
    fn escape(&mut self, into: &mut Vec<u8>) -> Option<()> {
        if !self.passes(b'\\') {
            return None;
        }
        let mark = self.peek();
        self.at += 1;
        let plain = match mark {
            b'"' | b'\\' | b'/' => mark,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let found = self.code_point()?;
                into.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        into.push(plain);
        Some(())
    }

    /// What follows `\u`. Half of a surrogate pair is none.
    fn code_point(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        if !self.passes_all(b"\\u") {
            return None;
        }
        let second = self.four_digits()?;
        let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + low)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..)?.first_chunk::<4>()?;
        self.at += 4;
        digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
    }

    /// A number as a finite 64-bit float, rounded to the nearest. Not `-0`, whose sign others drop.
    #[inline]
    pub fn float(&mut self) -> Option<f64> {
        let start = self.at;
        let first = start + usize::from(self.peek() == b'-');
        let mut place = first;
        while self.byte(place).is_ascii_digit() {
            place += 1;
        }
        let whole = place - first;
        if whole == 0 || (whole > 1 && self.byte(first) == b'0') {
            return None;
        }
        // What the float parser takes beyond JSON: `1.` and `1.e5`.
        if self.byte(place) == b'.' && !self.byte(place + 1).is_ascii_digit() {
            return None;
        }
        let token = self.bytes.get(start..)?;
        let token = token.get(..LONGEST_NUMBER).unwrap_or(token);
        let (value, length) = fast_float2::parse_partial::<f64, _>(token).ok()?;
        if length >= LONGEST_NUMBER || !value.is_finite() || (value == 0.0 && token.get(..length)? == b"-0") {
            return None;
        }
        self.at = start + length;
        Some(value)
    }

    /// A whole number of 64 bits, which may have come as a float (`2.0`, `2e3`).
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        if let Some(value) = self.digits() {
            return Some(value);
        }
        self.at = start;
        let value = self.float()?;
        // 2^63 is a float, 2^63 - 1 is none.
        let bound = 9_223_372_036_854_775_808.0;
        #[allow(clippy::cast_possible_truncation)]
        let whole = value as i64;
        (value.fract() == 0.0 && value >= -bound && value < bound && token_is_float(self.since(start)))
            .then_some(whole)
    }

    /// A whole number of 64 bits written with digits alone.
    #[inline]
    pub fn digits(&mut self) -> Option<i64> {
        let negative = self.passes(b'-');
        let mut sum: u64 = 0;
        let mut length = 0;
        for byte in self.rest() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            // Twenty digits may wrap; they are none.
            sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit));
            length += 1;
        }
        let leading = self.peek() == b'0' && (length > 1 || negative);
        self.at += length;
        if !(1..=19).contains(&length) || leading || matches!(self.peek(), b'.' | b'e' | b'E') {
            return None;
        }
        if negative { 0_i64.checked_sub_unsigned(sum) } else { i64::try_from(sum).ok() }
    }

    /// The bytes passed since `place`.
    pub fn since(&self, place: usize) -> &'a [u8] {
        self.bytes.get(place..self.at).unwrap_or_default()
    }
}

fn token_is_float(token: &[u8]) -> bool {
    token.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// Whether `rest` begins with `text`; without a call for the lengths that keys have.
#[inline]
fn begins(rest: &[u8], text: &[u8]) -> bool {
    let Some(head) = rest.get(..text.len()) else {
        return false;
    };
    match text.len() {
        8..=16 => {
            head.first_chunk::<8>() == text.first_chunk() && head.last_chunk::<8>() == text.last_chunk()
        }
        17..=32 => {
            head.first_chunk::<16>() == text.first_chunk() && head.last_chunk::<16>() == text.last_chunk()
        }
        _ => head == text,
    }
}

/// Characters in valid UTF-8.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

/// Marks the lowest byte of `word` that is zero by its highest bit, and maybe bytes above it.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// As `zeros`, for a byte below 0x20.
#[inline]
fn below_blank(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}
