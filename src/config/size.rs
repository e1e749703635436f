//! Sizes as people write them: `500MB`, `2GiB`.

/// The units, the largest first, so that a size is written in the largest that it is a whole number of.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a whole number with its unit; `None`: it is none, or more than 64 bits hold.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let unit = unit.trim_start();
    // `KB` is meant where `kB` is right.
    let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes a size so that it reads back as the same.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let (unit, factor) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Writes about how large something is, for people.
#[must_use]
pub fn about_size(bytes: u64) -> String {
    let binary = UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
    let Some((unit, factor)) = binary.into_iter().find(|(_, factor)| bytes >= *factor) else {
        return format!("{bytes}B");
    };
    // In tenths, rounded down: what is nearly full is not called full.
    let tenths = u128::from(bytes) * 10 / u128::from(*factor);
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_size_is_a_whole_number_and_a_unit() {
        for (text, bytes) in
            [("0B", 0), ("1GiB", 1 << 30), ("500MB", 500_000_000), ("3 KB", 3_000), ("7kib", 7_168)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "1", "GiB", "1.5GiB", "-1B", "1G", "99999999999TiB", "1GiBs"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!(format_size(2 << 30), "2GiB");
        assert_eq!(format_size(1_500_000), "1500kB");
        for (bytes, text) in [(0, "0B"), (1_023, "1023B"), (1_535, "1.4KiB"), (2 << 30, "2.0GiB")] {
            assert_eq!(about_size(bytes), text);
        }
        assert_eq!(about_size(u64::MAX), "16777215.9TiB");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(bytes: u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
