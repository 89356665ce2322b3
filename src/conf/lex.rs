//! Where do words and sentences of the configuration language end? nginx's quoting rules, byte for byte.
//! A sentence is the words up to `;` or `{`. Meaning is not looked at here, and nothing is read from disk.

/// How a sentence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `;`
    Semicolon,
    /// `{`
    BlockStart,
    /// `}` standing alone; the sentence has no words.
    BlockDone,
    /// Nothing is left; the sentence has no words.
    FileDone,
}

/// The words up to a terminator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The words with quotes and escapes taken away; not yet known to be UTF-8.
    pub words: Vec<Vec<u8>>,
    /// What ended it.
    pub end: End,
    /// The line on which it ended: the one that messages name.
    pub line: u32,
}

/// Words that do not form a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// nginx's message.
    pub text: String,
    /// The line to name.
    pub line: u32,
}

/// What is being read: a file, or the argument of `-g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file; a word may take at most [`LONGEST_WORD`] bytes.
    File,
    /// The command line; blocks are refused.
    CommandLine,
}

/// A longer word (with what surrounds it) is taken for a missing quote.
pub const LONGEST_WORD: usize = 4096;

/// Reads sentences out of bytes.
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    source: Source,
}

/// Where in a word the reader stands.
#[derive(Default)]
struct State {
    need_space: bool,
    in_word: bool,
    comment: bool,
    dollar: bool,
    escaped: bool,
    quote: Option<u8>,
    start: usize,
    start_line: u32,
}

/// What one byte led to.
enum Step {
    /// Go on.
    On,
    /// A word ended before this byte.
    Word,
    /// The sentence ended.
    Done(End),
}

impl<'a> Lexer<'a> {
    /// Begins at the first byte of `text`, on line 1 (line 0 for the command line).
    pub fn new(text: &'a [u8], source: Source) -> Lexer<'a> {
        Lexer { text, at: 0, line: if source == Source::File { 1 } else { 0 }, source }
    }

    /// The next sentence.
    ///
    /// # Errors
    /// nginx's message with its line, when the words do not form a sentence; reading on makes no sense then.
    pub fn sentence(&mut self) -> Result<Sentence, Misspelt> {
        let mut words = Vec::new();
        let mut state = State { start: self.at, start_line: self.line, ..State::default() };
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return self.ends(words, &state);
            };
            if self.source == Source::File && self.at - state.start >= LONGEST_WORD {
                return Err(self.too_long(&state));
            }
            self.at += 1;
            if byte == b'\n' && self.source == Source::File {
                self.line += 1;
            }
            if byte == b'\n' {
                state.comment = false;
            }
            if state.comment || std::mem::take(&mut state.escaped) {
                continue;
            }
            let end = match self.step(&mut state, byte, words.is_empty())? {
                Step::On => continue,
                Step::Done(end) => end,
                Step::Word => {
                    words.push(unescape(&self.text[state.start..self.at - 1]));
                    match byte {
                        b';' => End::Semicolon,
                        b'{' => End::BlockStart,
                        _ => continue,
                    }
                }
            };
            return Ok(Sentence { words, end, line: self.line });
        }
    }

    fn ends(&self, words: Vec<Vec<u8>>, state: &State) -> Result<Sentence, Misspelt> {
        if words.is_empty() && !state.in_word {
            return Ok(Sentence { words, end: End::FileDone, line: self.line });
        }
        Err(self.misspelt(match self.source {
            Source::File => "unexpected end of file, expecting \";\" or \"}\"",
            Source::CommandLine => "unexpected end of parameter, expecting \";\"",
        }))
    }

    fn step(&self, state: &mut State, byte: u8, first: bool) -> Result<Step, Misspelt> {
        if state.need_space {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    state.in_word = false;
                    state.need_space = false;
                    return Ok(Step::On);
                }
                b';' => return Ok(Step::Done(End::Semicolon)),
                b'{' => return Ok(Step::Done(End::BlockStart)),
                b')' => {
                    state.in_word = false;
                    state.need_space = false;
                }
                _ => return Err(self.unexpected(byte)),
            }
        }
        if state.in_word { Ok(inside(state, byte)) } else { self.between(state, byte, first) }
    }

    /// A byte between words: it may begin one.
    fn between(&self, state: &mut State, byte: u8, first: bool) -> Result<Step, Misspelt> {
        state.start = self.at - 1;
        state.start_line = self.line;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return Ok(Step::On),
            b';' | b'{' if first => return Err(self.unexpected(byte)),
            b';' => return Ok(Step::Done(End::Semicolon)),
            b'{' => return Ok(Step::Done(End::BlockStart)),
            b'}' if first => return Ok(Step::Done(End::BlockDone)),
            b'}' => return Err(self.unexpected(byte)),
            b'#' => {
                state.comment = true;
                return Ok(Step::On);
            }
            b'\\' => state.escaped = true,
            b'"' | b'\'' => {
                state.start += 1;
                state.quote = Some(byte);
            }
            b'$' => state.dollar = true,
            _ => {}
        }
        state.in_word = true;
        Ok(Step::On)
    }

    fn unexpected(&self, byte: u8) -> Misspelt {
        self.misspelt(&format!("unexpected \"{}\"", char::from(byte)))
    }

    fn misspelt(&self, text: &str) -> Misspelt {
        Misspelt { text: text.to_owned(), line: self.line }
    }

    fn too_long(&self, state: &State) -> Misspelt {
        let text = match state.quote {
            Some(quote) => {
                format!("too long parameter, probably missing terminating \"{}\" character", char::from(quote))
            }
            None => {
                let begins = &self.text[state.start..(state.start + 10).min(self.text.len())];
                format!("too long parameter \"{}...\" started", String::from_utf8_lossy(begins))
            }
        };
        Misspelt { text, line: state.start_line }
    }
}

/// A byte inside a word: it may end it.
fn inside(state: &mut State, byte: u8) -> Step {
    if byte == b'{' && state.dollar {
        return Step::On;
    }
    state.dollar = false;
    match (byte, state.quote) {
        (b'\\', _) => state.escaped = true,
        (b'$', _) => state.dollar = true,
        (_, Some(quote)) if byte == quote => {
            state.quote = None;
            state.need_space = true;
            return Step::Word;
        }
        (b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{', None) => {
            state.in_word = false;
            return Step::Word;
        }
        _ => {}
    }
    Step::On
}

/// Takes `\"`, `\'` and `\\` apart, makes `\t`, `\r`, `\n` the control character, leaves other backslashes (regexes).
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut word = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let meant = match (byte, bytes.peek()) {
            (b'\\', Some(&next @ (b'"' | b'\'' | b'\\'))) => Some(next),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b'n')) => Some(b'\n'),
            _ => None,
        };
        if meant.is_some() {
            bytes.next();
        }
        word.push(meant.unwrap_or(byte));
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Result<(Vec<String>, End, u32), String>;

    fn sentences(text: &str) -> Vec<Read> {
        let mut lexer = Lexer::new(text.as_bytes(), Source::File);
        let mut all = Vec::new();
        loop {
            match lexer.sentence() {
                Ok(s) if s.end == End::FileDone => return all,
                Ok(s) => {
                    all.push(Ok((s.words.into_iter().map(|w| String::from_utf8(w).unwrap()).collect(), s.end, s.line)))
                }
                Err(wrong) => {
                    all.push(Err(format!("{} {}", wrong.text, wrong.line)));
                    return all;
                }
            }
        }
    }

    fn words(text: &str) -> Vec<String> {
        sentences(text).remove(0).unwrap().0
    }

    #[test]
    fn quotes_count_only_at_the_start_of_a_word() {
        assert_eq!(words(r#"a "b c" d"e 'f;{}' ;"#), ["a", "b c", "d\"e", "f;{}"]);
        assert_eq!(words("a b#c;"), ["a", "b#c"]);
        assert_eq!(words("if ($a ~ \"x\") {"), ["if", "($a", "~", "x", ")"]);
        assert_eq!(words("a \"\";"), ["a", ""]);
    }

    #[test]
    fn a_variable_in_braces_opens_no_block() {
        assert_eq!(words("a ${b}c{"), ["a", "${b}c"]);
        assert_eq!(words("a x{"), ["a", "x"]);
    }

    #[test]
    fn backslashes_stay_unless_they_name_a_quote_or_a_control_character() {
        assert_eq!(words(r#"a \.php$ "x\"y\\z\t" \;b;"#), ["a", r"\.php$", "x\"y\\z\t", r"\;b"]);
    }

    #[test]
    fn a_sentence_stands_on_the_line_of_its_terminator() {
        assert_eq!(sentences("# c\na\n b\n;"), [Ok((vec!["a".into(), "b".into()], End::Semicolon, 4))]);
    }

    #[test]
    fn wrong_sentences_get_the_words_of_nginx() {
        for (text, message) in [
            ("a", "unexpected end of file, expecting \";\" or \"}\" 1"),
            ("a \"b\"c;", "unexpected \"c\" 1"),
            (";", "unexpected \";\" 1"),
            ("a }", "unexpected \"}\" 1"),
            ("{", "unexpected \"{\" 1"),
        ] {
            assert_eq!(sentences(text), [Err(message.to_owned())], "{text}");
        }
        let unclosed = format!("\na \"{};", "x\n".repeat(3000));
        let message = "too long parameter, probably missing terminating \"\"\" character 2";
        assert_eq!(sentences(&unclosed), [Err(message.to_owned())]);
        let long = format!("a {};", "x".repeat(5000));
        assert_eq!(sentences(&long), [Err("too long parameter \"xxxxxxxxxx...\" started 1".to_owned())]);
    }

    #[test]
    fn the_command_line_wants_its_semicolon() {
        let mut lexer = Lexer::new(b"daemon off", Source::CommandLine);
        let wrong = lexer.sentence().unwrap_err();
        assert_eq!(wrong.text, "unexpected end of parameter, expecting \";\"");
    }
}
