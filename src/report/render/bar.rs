//! Bars of text, an eighth of a character fine.

/// Nothing was observed here. Never mistaken for an empty bar, which is a zero.
pub(super) const HATCH: char = '░';

const FULL: char = '█';

/// The last character of a bar, by eighths.
const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A bar for `value` on a scale that ends at `most`, `width` characters long at most. Without a value the whole scale is
/// hatched: it could be anything.
pub(super) fn bar(value: Option<f64>, most: f64, width: usize) -> String {
    let Some(value) = value else { return HATCH.to_string().repeat(width) };
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    // At most eight times the width of a terminal.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is small and at least 0"
    )]
    let eighths = (share * 8.0 * width as f64).round() as usize;
    // What is not nothing can be seen.
    let eighths = if value > 0.0 { eighths.max(1) } else { eighths };
    let mut text = FULL.to_string().repeat(eighths / 8);
    if eighths % 8 > 0 {
        text.push(PARTS[eighths % 8]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        assert_eq!(bar(Some(8.0), 8.0, 2), "██");
        assert_eq!(bar(Some(5.0), 8.0, 2), "█▎");
        assert_eq!(bar(Some(0.001), 8.0, 2), "▏");
        assert_eq!(bar(Some(0.0), 8.0, 2), "");
        assert_eq!(bar(Some(-1.0), 8.0, 2), "");
        assert_eq!(bar(Some(0.0), 0.0, 2), "");
        assert_eq!(bar(None, 8.0, 3), "░░░");
    }
}
