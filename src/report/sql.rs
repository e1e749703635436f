//! Finds the parameters of a report in its SQL text, and nothing else.
//!
//! psql's own form, `:'name'`, is the only one. psql pastes the value as a literal; here it becomes `$n::text` and is
//! bound. The two mean the same because a literal of unknown type and a text that is cast at once read alike. To find
//! the parameters and no look-alikes, the text is cut the way PostgreSQL's own lexer cuts it: quoted text, quoted
//! names, dollar quotes, comments (which nest) and `::` are passed over.

/// A report's SQL, ready to be prepared: one statement, parameters numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text with `$n::text` in the place of `:'name'`, lines as in the file, no semicolon at the end.
    pub sql: String,
    /// The parameters' names: the first is `$1`.
    pub parameters: Vec<String>,
}

/// Why a text is not one statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Nothing but comments.
    #[error("there is no statement in it")]
    Empty,
    /// Something follows a semicolon.
    #[error("line {0}: a second statement begins; a report is one statement")]
    Several(usize),
    /// It is something else than a question.
    #[error("it begins with `{0}`; a report begins with `select`, `with`, `values` or `table`")]
    NotReading(String),
    /// A quote or a comment runs to the end of the text.
    #[error("line {0}: what begins here is never closed")]
    Open(usize),
}

/// Reads one statement and numbers its parameters in order of appearance.
///
/// # Errors
/// The text holds no statement, several, or a quote that never ends.
pub fn read_statement(text: &str) -> Result<Statement, StatementError> {
    let mut scan = Scan { text, at: 0 };
    let mut sql = String::with_capacity(text.len());
    let mut parameters: Vec<String> = Vec::new();
    let mut begun = false;
    let mut first: Option<String> = None;
    let mut ended = false;
    while let Some((kind, token)) = scan.next_token()? {
        if matches!(kind, Token::Space) {
            sql.push_str(token);
            continue;
        }
        if ended && token != ";" {
            return Err(StatementError::Several(scan.line_of(scan.at - token.len())));
        }
        if first.is_none() && matches!(kind, Token::Other) {
            first = Some(token.to_owned());
        }
        match kind {
            Token::Parameter(name) => {
                let index =
                    parameters.iter().position(|known| known == name).unwrap_or_else(|| {
                        parameters.push(name.to_owned());
                        parameters.len() - 1
                    });
                // In brackets, so that what stands before or after cannot bind to a part of it.
                sql.push_str(&format!("(${}::text)", index + 1));
            }
            Token::Semicolon => ended = begun,
            Token::Other | Token::Space => sql.push_str(token),
        }
        begun |= !matches!(kind, Token::Semicolon);
    }
    if !begun {
        return Err(StatementError::Empty);
    }
    match first {
        Some(word) if !READING.iter().any(|known| word.eq_ignore_ascii_case(known)) => {
            Err(StatementError::NotReading(word))
        }
        _ => Ok(Statement { sql, parameters }),
    }
}

/// What a statement that reads can begin with.
const READING: [&str; 5] = ["select", "with", "values", "table", "("];

/// What the cutter tells apart.
enum Token<'a> {
    /// White space and comments.
    Space,
    /// `:'name'`
    Parameter(&'a str),
    Semicolon,
    Other,
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

fn begins_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_name(c: char) -> bool {
    begins_name(c) || c.is_ascii_digit() || c == '$'
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// The next token and its text; `None` at the end.
    fn next_token(&mut self) -> Result<Option<(Token<'a>, &'a str)>, StatementError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        // Worked out only where it is wanted: to count lines for each token would take longer than all else.
        let open = || StatementError::Open(self.line_of(self.at));
        let (kind, length) = if first.is_whitespace() {
            (Token::Space, rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()))
        } else if rest.starts_with("--") {
            (Token::Space, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (Token::Space, block_comment(rest).ok_or_else(open)?)
        } else if rest.starts_with("::") {
            (Token::Other, 2)
        } else if let Some(name) = parameter(rest) {
            (Token::Parameter(name), name.len() + 3)
        } else if first == ';' {
            (Token::Semicolon, 1)
        } else if first == '\'' {
            (Token::Other, quoted(rest, '\'', false).ok_or_else(open)?)
        } else if first == '"' {
            (Token::Other, quoted(rest, '"', false).ok_or_else(open)?)
        } else if first == '$' {
            (Token::Other, dollar_quoted(rest).ok_or_else(open)?)
        } else if begins_name(first) {
            let name = rest.find(|c| !continues_name(c)).unwrap_or(rest.len());
            // The prefix of a literal is a name to the eye; only E changes how the literal is read.
            let escapes = matches!(&rest[..name], "e" | "E") && rest[name..].starts_with('\'');
            let literal =
                if escapes { quoted(&rest[name..], '\'', true).ok_or_else(open)? } else { 0 };
            (Token::Other, name + literal)
        } else {
            (Token::Other, first.len_utf8())
        };
        self.at += length;
        Ok(Some((kind, &rest[..length])))
    }
}

/// `:'name'` at the beginning of the text.
fn parameter(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix(":'")?.split_once('\'')?;
    // psql's own alphabet for variables.
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    (!name.is_empty() && name.chars().all(fits)).then_some(name)
}

/// The length of the comment that begins the text; comments nest.
fn block_comment(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    None
}

/// The length of the quoted text that begins the text. A doubled quote is inside it, and so is what a backslash
/// precedes where those count. A literal with escapes goes on after a line break; a plain one may be read as two.
fn quoted(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let quote = u8::try_from(quote).ok()?;
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            let after = &text[at + 1..];
            let gap = after.len() - after.trim_start().len();
            if escapes && after[..gap].contains('\n') && after[gap..].starts_with('\'') {
                at += 1 + gap + 1;
                continue;
            }
            return Some(at + 1);
        }
    }
    None
}

/// The length of the dollar-quoted text that begins the text; 1 if it is only a dollar sign (`$1`).
fn dollar_quoted(text: &str) -> Option<usize> {
    let Some(tag_end) = text[1..].find('$').map(|at| at + 1) else { return Some(1) };
    let tag = &text[1..tag_end];
    let is_tag = tag.is_empty() || tag.starts_with(begins_name) && tag.chars().all(continues_name);
    if !is_tag {
        return Some(1);
    }
    let delimiter = &text[..=tag_end];
    let body = &text[delimiter.len()..];
    body.find(delimiter).map(|at| at + 2 * delimiter.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Vec<String>) {
        let statement = read_statement(text).expect("one statement");
        (statement.sql, statement.parameters)
    }

    #[test]
    fn parameters_are_numbered_once_each() {
        let (sql, parameters) = read("select :'from', :'to'::int, :'from'");
        assert_eq!(sql, "select ($1::text), ($2::text)::int, ($1::text)");
        assert_eq!(parameters, ["from", "to"]);
    }

    #[test]
    fn look_alikes_are_left_alone() {
        for text in [
            "select 'a :''b'' c'",
            r"select E'it\'s :\'x\'' , e'\\'",
            "select E'a'\n  'b\\':''x'''",
            "select \":'x'\"",
            "select $$ :'x' $$, $tag$ $$ :'x' $tag$",
            "select 1 -- :'x'",
            "/* :'x' /* nested */ :'y' */ select 1",
            "select '1'::text, a[1:2], x::\"char\"",
            "select 1 as a$b$c, $1",
            "select type'x', 'é' as \"ü\"",
            "select U&'\\0041', B'01'",
            "select :'a b', :\"name\", :name, :''",
        ] {
            assert_eq!(read(text), (text.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn a_cast_before_a_literal_is_no_parameter() {
        assert_eq!(read("select x::'t'").1, Vec::<String>::new());
        assert_eq!(read("select E'\\\\':'x'").1, ["x"]);
        assert_eq!(read("select a$$b :'x'").1, ["x"]);
    }

    #[test]
    fn a_report_is_one_statement() {
        assert_eq!(read("select 1; -- done\n ;").0, "select 1 -- done\n ");
        assert_eq!(read_statement("select 1;\nselect 2"), Err(StatementError::Several(2)));
        assert_eq!(read_statement("-- nothing\n;"), Err(StatementError::Empty));
        assert_eq!(read_statement("select\n'open"), Err(StatementError::Open(2)));
        assert_eq!(read_statement("select /* /* */"), Err(StatementError::Open(1)));
        assert_eq!(read_statement("select $a$ $b$"), Err(StatementError::Open(1)));
    }
}
