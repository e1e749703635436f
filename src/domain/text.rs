//! Text from outside is data: what of it can be stored, and how it is shown without being obeyed.

use std::sync::Arc;

/// U+0000, which PostgreSQL cannot hold, becomes U+2400; every other text stays verbatim.
#[must_use]
pub fn storable(text: &str) -> Arc<str> {
    if text.contains('\0') { Arc::from(text.replace('\0', "\u{2400}")) } else { Arc::from(text) }
}

/// As many as are kept: there are four or five statuses, two types, a handful of groups on a desktop.
const MOST_COMMON: usize = 32;

/// Texts that many records have in common, each of them once in memory. A server that makes up more gets its own for each.
#[derive(Debug, Default)]
pub struct Common(Vec<Arc<str>>);

impl Common {
    /// The text, as it can be stored.
    pub fn of(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *text) {
            return Arc::clone(known);
        }
        let new = storable(text);
        if self.0.len() < MOST_COMMON {
            self.0.push(Arc::clone(&new));
        }
        new
    }
}

/// Text from the API with nothing in it that a terminal would obey or that changes the order of what is shown.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Their pictures: ␛ for escape, ␊ for a line feed.
            '\0'..='\x1f' => safe.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('�')),
            '\x7f' => safe.push('␡'),
            '\u{80}'..='\u{9f}'
            | '\u{061c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_have_in_common_is_held_once_and_what_each_has_of_its_own_not_for_ever() {
        let mut common = Common::default();
        let (one, other) = (common.of("CONNECTED"), common.of("CONNECTED"));
        assert!(Arc::ptr_eq(&one, &other));
        for number in 0..1_000 {
            let text = format!("STATUS {number}");
            assert_eq!(*common.of(&text), *text);
        }
        assert_eq!(common.0.len(), MOST_COMMON);
        assert!(Arc::ptr_eq(&one, &common.of("CONNECTED")));
        assert_eq!(&*common.of("a\0b"), "a\u{2400}b");
    }
}
