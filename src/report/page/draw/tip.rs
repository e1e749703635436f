//! What a picture says where a pointer rests on it: its values, as the titles of invisible rectangles above it, so that it
//! takes no script. They are for eyes alone; the table has the same for everybody.

use minijinja::HtmlEscape;

/// A place of a picture, in its pixels, and what is there.
#[derive(Debug)]
pub(super) struct Tip {
    pub from: (i32, i32),
    pub to: (i32, i32),
    pub text: String,
}

/// Puts them into a picture that is finished, and takes out of it what `plotters` says though nothing else would be assumed: a
/// quarter of its size. No text of it can look like that, since quotes are escaped.
pub(super) fn put(svg: &mut String, tips: &[Tip]) {
    *svg = svg.replace(" opacity=\"1\"", "").replace(" stroke=\"none\"", "");
    const END: &str = "</svg>";
    let Some(end) = svg.rfind(END) else { return };
    let mut layer = String::from("<g class=\"tips\" fill=\"none\" pointer-events=\"all\">\n");
    for Tip { from, to, text } in tips {
        let (width, height) = (to.0 - from.0, to.1 - from.1);
        layer.push_str(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{height}\"><title>{}</title></rect>\n",
            from.0,
            from.1,
            HtmlEscape(text),
        ));
    }
    layer.push_str("</g>\n");
    svg.insert_str(end, &layer);
}
