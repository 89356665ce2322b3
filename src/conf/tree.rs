//! Which directives stand where? Sentences become a tree of directives with their places; meaning is not looked at.
//! A fault stays in the tree at the place where reading stopped, so that whatever stands before it is judged first,
//! as nginx does, which reads and acts in one go.

use std::sync::Arc;

use crate::words::Place;

use super::lex::{End, Lexer, Misspelt, Source};

/// Blocks inside blocks beyond this depth are refused: hostile input shall not exhaust the stack.
pub const DEEPEST: usize = 100;

/// One directive: its name, its arguments, and its block if it has one.
#[derive(Clone, Debug)]
pub struct Directive {
    /// The first word.
    pub name: Box<str>,
    /// The other words.
    pub args: Vec<Box<str>>,
    /// Where it ended (`;` or `{`).
    pub place: Place,
    /// What stands between `{` and `}`.
    pub block: Option<Block>,
}

/// The inside of a block, or a whole file.
#[derive(Clone, Debug)]
pub struct Block {
    /// Directives in order; a fault can only be the last.
    pub items: Vec<Item>,
    /// Where the block or file ended: complaints about the whole block name this.
    pub end: Place,
}

/// A directive, or the place where reading stopped.
#[derive(Clone, Debug)]
pub enum Item {
    /// A directive.
    Directive(Directive),
    /// Nothing can be read from here on; nginx's message.
    Fault(String, Place),
}

/// The tree of one file.
pub fn parse(text: &[u8], file: &Arc<str>) -> Block {
    let mut reader = Reader { lexer: Lexer::new(text, Source::File), file, source: Source::File };
    reader.block(0)
}

/// The tree of `-g`'s argument; its places read "command line".
pub fn parse_command_line(text: &str) -> Block {
    let file = Arc::from("command line");
    let mut reader =
        Reader { lexer: Lexer::new(text.as_bytes(), Source::CommandLine), file: &file, source: Source::CommandLine };
    reader.block(0)
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    file: &'a Arc<str>,
    source: Source,
}

impl Reader<'_> {
    fn place(&self, line: u32) -> Place {
        Place { file: Arc::clone(self.file), line }
    }

    fn block(&mut self, depth: usize) -> Block {
        let mut items = Vec::new();
        loop {
            let sentence = match self.lexer.sentence() {
                Ok(sentence) => sentence,
                Err(Misspelt { text, line }) => return self.faulty(items, text, line),
            };
            let place = self.place(sentence.line);
            match sentence.end {
                End::FileDone if depth > 0 => {
                    return self.faulty(items, "unexpected end of file, expecting \"}\"".to_owned(), sentence.line);
                }
                End::BlockDone if depth == 0 => {
                    return self.faulty(items, "unexpected \"}\"".to_owned(), sentence.line);
                }
                End::FileDone | End::BlockDone => return Block { items, end: place },
                End::BlockStart if self.source == Source::CommandLine => {
                    let text = "block directives are not supported in -g option".to_owned();
                    return self.faulty(items, text, sentence.line);
                }
                End::BlockStart if depth >= DEEPEST => {
                    return self.faulty(items, format!("more than {DEEPEST} blocks in each other"), sentence.line);
                }
                End::BlockStart | End::Semicolon => {}
            }
            let (name, args) = match split(sentence.words) {
                Ok(words) => words,
                Err(text) => return self.faulty(items, text, sentence.line),
            };
            let block = (sentence.end == End::BlockStart).then(|| self.block(depth + 1));
            let broken = block.as_ref().is_some_and(Block::is_broken);
            items.push(Item::Directive(Directive { name, args, place: place.clone(), block }));
            if broken {
                return Block { items, end: place };
            }
        }
    }

    fn faulty(&self, mut items: Vec<Item>, text: String, line: u32) -> Block {
        let place = self.place(line);
        items.push(Item::Fault(text, place.clone()));
        Block { items, end: place }
    }
}

impl Block {
    /// Whether reading stopped somewhere inside.
    pub fn is_broken(&self) -> bool {
        match self.items.last() {
            Some(Item::Fault(..)) => true,
            Some(Item::Directive(last)) => last.block.as_ref().is_some_and(Block::is_broken),
            None => false,
        }
    }
}

/// Name and arguments as text. nginx takes any bytes; here they must be UTF-8, and a file which is not is told so.
fn split(words: Vec<Vec<u8>>) -> Result<(Box<str>, Vec<Box<str>>), String> {
    let mut texts = words.into_iter().map(|word| {
        String::from_utf8(word).map(String::into_boxed_str).map_err(|wrong| {
            format!("the parameter \"{}\" is not UTF-8, which is not yet supported", wrong.as_bytes().escape_ascii())
        })
    });
    let name = texts.next().unwrap_or(Ok("".into()))?;
    Ok((name, texts.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(block: &Block) -> String {
        let mut out = String::new();
        for item in &block.items {
            match item {
                Item::Fault(text, place) => out.push_str(&format!("!{text}@{}", place.line)),
                Item::Directive(d) => {
                    out.push_str(&format!("{}({})@{}", d.name, d.args.join(","), d.place.line));
                    if let Some(inner) = &d.block {
                        out.push_str(&format!("{{{}}}@{}", outline(inner), inner.end.line));
                    }
                    out.push(' ');
                }
            }
        }
        out
    }

    fn tree(text: &str) -> String {
        outline(&parse(text.as_bytes(), &Arc::from("f")))
    }

    #[test]
    fn blocks_nest_and_know_where_they_end() {
        assert_eq!(tree("a b;\nc {\nd;\n}\n"), "a(b)@1 c()@2{d()@3 }@4 ");
    }

    #[test]
    fn what_stands_before_a_fault_is_kept_to_be_judged_first() {
        assert_eq!(tree("a;\nb {\nc;\n"), "a()@1 b()@2{c()@3 !unexpected end of file, expecting \"}\"@4}@4 ");
        assert_eq!(tree("a; } b;"), "a()@1 !unexpected \"}\"@1");
    }

    #[test]
    fn endless_nesting_ends_in_a_complaint_and_not_in_a_crash() {
        let text = "a{".repeat(100_000);
        let mut block = &parse(text.as_bytes(), &Arc::from("f"));
        let mut depth = 0;
        while let Some(Item::Directive(Directive { block: Some(inner), .. })) = block.items.last() {
            block = inner;
            depth += 1;
        }
        assert_eq!(depth, DEEPEST);
        assert!(matches!(block.items.last(), Some(Item::Fault(..))));
    }

    #[test]
    fn the_command_line_takes_no_blocks() {
        assert_eq!(
            outline(&parse_command_line("a; events { }")),
            "a()@0 !block directives are not supported in -g option@0"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_by_name_but_may_stand_in_comments() {
        let block = parse(b"# \xe4\na \xe4;", &Arc::from("f"));
        assert!(outline(&block).contains("\\xe4"));
    }
}
