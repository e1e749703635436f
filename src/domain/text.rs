//! Text from outside is data: what of it can be stored, and how it is shown without being obeyed.

use std::sync::Arc;

/// U+0000, which PostgreSQL cannot hold, becomes U+2400; every other text stays verbatim.
#[must_use]
pub fn storable(text: &str) -> Arc<str> {
    if text.contains('\0') { Arc::from(text.replace('\0', "\u{2400}")) } else { Arc::from(text) }
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
