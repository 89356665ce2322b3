//! How is a tree walked? In nginx's order: unknown name, wrong place, wrong end, wrong number of arguments, then the
//! directive's own rules. Includes are read where they stand, in the same context.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::words::Place;

use super::complaint::{Complaint, SourceFile};
use super::directives::Shared;
use super::load::{Options, Types};
use super::table::{Found, Home, Outcome, Row, table};
use super::tree::{self, Block, Directive, Item};
use super::variables::Variables;
use super::world::{Errno, World};

/// More files than these are not read: an include that includes itself ends here.
const MOST_FILES: usize = 10_000;
/// Includes inside includes beyond this depth are refused.
const DEEPEST_INCLUDE: usize = 50;

/// A block that takes directives.
pub trait Scope {
    /// Where its directives stand.
    fn home(&self) -> Home;

    /// Takes one directive that may stand here, with the right end and number of arguments.
    ///
    /// # Errors
    /// nginx's words; reading stops then.
    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint>;
}

/// Everything that is alive while files are read.
pub struct Reader<'w> {
    /// The world outside.
    pub world: &'w dyn World,
    /// What was asked for.
    pub options: &'w Options,
    /// Files in the order in which they were opened, each once.
    pub files: Vec<SourceFile>,
    /// Warnings and forgivable errors, in order.
    pub complaints: Vec<Complaint>,
    /// What nginx finds only when everything was read, and says after everything else.
    pub late: Vec<Complaint>,
    /// Directives that would have to be honoured and are not, yet.
    pub not_yet: Vec<Complaint>,
    /// Directives that were ignored: name, reason, place.
    pub ignored: Vec<(&'static str, &'static str, Place)>,
    /// Variables of `http`.
    pub variables: Variables,
    /// What the blocks of `http` share while they are read.
    pub shared: Shared,
    /// Types of files where no `types` stands.
    pub default_types: Types,
    depth: usize,
    opened: usize,
}

impl<'w> Reader<'w> {
    /// Nothing is read yet.
    pub fn new(world: &'w dyn World, options: &'w Options) -> Reader<'w> {
        Reader {
            world,
            options,
            files: Vec::new(),
            complaints: Vec::new(),
            late: Vec::new(),
            not_yet: Vec::new(),
            ignored: Vec::new(),
            variables: Variables::default(),
            shared: Shared::default(),
            default_types: Types::default(),
            depth: 0,
            opened: 0,
        }
    }

    /// Says something and goes on.
    pub fn warn(&mut self, text: impl Into<String>, place: &Place) {
        self.complaints.push(Complaint::warn(text, place));
    }

    /// Notes that a directive, or part of it, is not honoured where that matters. Reading goes on, so that nginx's own
    /// complaints come first; if there are none, the configuration is refused for this.
    pub fn not_yet(&mut self, what: &str, place: &Place) {
        self.not_yet.push(Complaint::emerg(format!("\"{what}\" is not yet supported"), place));
    }

    /// Reads a file and walks it.
    ///
    /// # Errors
    /// What the walk said, or nginx's words for a file that cannot be opened.
    pub fn file(&mut self, path: &Path, from: Option<&Place>, scope: &mut dyn Scope) -> Result<(), Complaint> {
        let block = self.open(path, from)?;
        self.depth += 1;
        let walked = self.walk(&block, scope);
        self.depth -= 1;
        walked
    }

    fn open(&mut self, path: &Path, from: Option<&Place>) -> Result<Block, Complaint> {
        let shown = path.to_string_lossy();
        let complaint = |text: String| match from {
            Some(place) => Complaint::emerg(text, place),
            None => Complaint::placeless(text),
        };
        self.opened += 1;
        if self.depth > DEEPEST_INCLUDE || self.opened > MOST_FILES {
            return Err(complaint(format!("open() \"{shown}\" failed (24: Too many open files)")));
        }
        let bytes =
            self.world.read_file(path).map_err(|errno| complaint(format!("open() \"{shown}\" failed ({errno})")))?;
        let block = tree::parse(&bytes, &Arc::from(shown.as_ref()));
        if !self.files.iter().any(|file| file.path == shown) {
            self.files.push(SourceFile { path: shown.into_owned(), bytes });
        }
        Ok(block)
    }

    /// Walks a block: every directive is looked up, checked and handed to `scope`.
    ///
    /// # Errors
    /// The first complaint that stops reading.
    pub fn walk(&mut self, block: &Block, scope: &mut dyn Scope) -> Result<(), Complaint> {
        for item in &block.items {
            match item {
                Item::Fault(text, place) => return Err(Complaint::emerg(text.clone(), place)),
                Item::Directive(directive) => self.directive(directive, scope)?,
            }
        }
        Ok(())
    }

    fn directive(&mut self, directive: &Directive, scope: &mut dyn Scope) -> Result<(), Complaint> {
        let name = &directive.name;
        let place = &directive.place;
        let row = match table().find(name, scope.home()) {
            Found::Here(row) => row,
            Found::Elsewhere => {
                return Err(Complaint::emerg(format!("\"{name}\" directive is not allowed here"), place));
            }
            Found::Nowhere => return Err(Complaint::emerg(format!("unknown directive \"{name}\""), place)),
        };
        if !row.block && directive.block.is_some() {
            return Err(Complaint::emerg(format!("directive \"{name}\" is not terminated by \";\""), place));
        }
        if row.block && directive.block.is_none() {
            return Err(Complaint::emerg(format!("directive \"{name}\" has no opening \"{{\""), place));
        }
        if !row.arity.takes(directive.args.len()) {
            return Err(Complaint::emerg(format!("invalid number of arguments in \"{name}\" directive"), place));
        }
        if row.name == "include" {
            return self.include(directive, &mut |reader, path, place| reader.file(path, Some(place), scope));
        }
        scope.take(self, row, directive)?;
        self.outcome(row, scope.home(), directive);
        Ok(())
    }

    /// What the table says becomes of a directive that was read without complaint.
    fn outcome(&mut self, row: &'static Row, home: Home, directive: &Directive) {
        if matches!(home, Home::Stream | Home::StreamServer | Home::StreamUpstream) {
            // `stream` itself is refused; once is enough.
            return;
        }
        let off = directive.args.len() == 1 && directive.args[0].eq_ignore_ascii_case("off");
        match row.outcome {
            Outcome::Honoured => {}
            // What is not there is off.
            Outcome::NotYet if off => {}
            Outcome::Ignored { why } if off && !why.starts_with("obsolete,") => {}
            Outcome::Ignored { why } => {
                let text = match why.starts_with("obsolete,") {
                    true => format!("the \"{}\" directive is {why}", row.name),
                    false => format!("\"{}\" is ignored: {why}", row.name),
                };
                self.warn(text, &directive.place);
                self.ignored.push((row.name, why, directive.place.clone()));
            }
            Outcome::NotYet => self.not_yet(row.name, &directive.place),
        }
    }

    fn include(
        &mut self,
        directive: &Directive,
        each: &mut dyn FnMut(&mut Self, &Path, &Place) -> Result<(), Complaint>,
    ) -> Result<(), Complaint> {
        let text = directive.args.first().map_or("", AsRef::as_ref);
        let path = self.conf_path(text);
        if !text.contains(['*', '?', '[']) && !self.options.conf_prefix.to_string_lossy().contains(['*', '?', '[']) {
            return each(self, &path, &directive.place);
        }
        let shown = path.to_string_lossy().into_owned();
        let found = self.world.glob(&shown).map_err(|errno: Errno| {
            Complaint::emerg(format!("glob() \"{shown}\" failed ({errno})"), &directive.place)
        })?;
        found.iter().try_for_each(|path| each(self, Path::new(path), &directive.place))
    }

    /// Walks a block whose lines are data (`map`, `types`): `each` gets every line that is no `include`.
    ///
    /// # Errors
    /// The first complaint that stops reading.
    pub fn lines(
        &mut self,
        block: &Block,
        each: &mut dyn FnMut(&mut Self, &Directive) -> Result<(), Complaint>,
    ) -> Result<(), Complaint> {
        for item in &block.items {
            let line = match item {
                Item::Fault(text, place) => return Err(Complaint::emerg(text.clone(), place)),
                Item::Directive(line) if line.block.is_some() => {
                    return Err(Complaint::emerg("unexpected \"{\"", &line.place));
                }
                Item::Directive(line) => line,
            };
            if &*line.name == "include" {
                if line.args.len() != 1 {
                    let text = "invalid number of arguments in \"include\" directive";
                    return Err(Complaint::emerg(text, &line.place));
                }
                self.include(line, &mut |reader, path, place| {
                    let block = reader.open(path, Some(place))?;
                    reader.depth += 1;
                    let walked = reader.lines(&block, each);
                    reader.depth -= 1;
                    walked
                })?;
            } else {
                each(self, line)?;
            }
        }
        Ok(())
    }

    /// A path against the directory of the main file (include, certificates, password files).
    pub fn conf_path(&self, text: &str) -> PathBuf {
        join(&self.options.conf_prefix, text)
    }

    /// A path against the prefix (root, logs, pid, temp paths).
    pub fn prefix_path(&self, text: &str) -> PathBuf {
        join(&self.options.prefix, text)
    }

    /// Compiles a text with variables.
    ///
    /// # Errors
    /// nginx's words.
    pub fn template(&mut self, text: &str, place: &Place) -> Result<crate::plan::template::Template, Complaint> {
        self.variables.template(text, place)
    }
}

/// As nginx joins them: by text, so that `a/../b` stays as it is.
fn join(prefix: &Path, text: &str) -> PathBuf {
    if text.starts_with('/') {
        return PathBuf::from(text);
    }
    let prefix = prefix.to_string_lossy();
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    PathBuf::from(format!("{prefix}{slash}{text}"))
}
