//! What do nginx's own flags say? The reading of `ngx_get_options`: single letters that may be bundled (`-tq`), values
//! glued (`-cFILE`) or next, messages and their order. `--offline` is the one long option that is known beside them.

/// What is asked for with nginx's flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-v`, `-V`, `-h`, `-?`.
    pub version: bool,
    /// `-V`.
    pub configure: bool,
    /// `-h`, `-?`.
    pub help: bool,
    /// `-t`, `-T`.
    pub test: bool,
    /// `-T`.
    pub dump: bool,
    /// `-q`.
    pub quiet: bool,
    /// `--offline`: `-t` asks neither DNS nor sockets nor certificate files.
    pub offline: bool,
    /// `-p`.
    pub prefix: Option<String>,
    /// `-c`.
    pub conf: Option<String>,
    /// `-e`; `stderr` is the empty text.
    pub error_log: Option<String>,
    /// `-g`.
    pub directives: Option<String>,
    /// `-s`.
    pub signal: Option<Signal>,
}

/// `-s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `stop`: TERM.
    Stop,
    /// `quit`: QUIT.
    Quit,
    /// `reopen`: USR1.
    Reopen,
    /// `reload`: HUP.
    Reload,
}

/// nginx's words for a command line that it does not understand, without its `nginx: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);

impl Options {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// [`BadUsage`] in nginx's words; exit code 1.
    pub fn parse(arguments: &[String]) -> Result<Options, BadUsage> {
        let mut options = Options::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--offline" {
                options.offline = true;
                continue;
            }
            let Some(letters) = argument.strip_prefix('-') else {
                return Err(BadUsage(format!("invalid option: \"{argument}\"")));
            };

            for (at, letter) in letters.char_indices() {
                if options.flag(letter) {
                    continue;
                }
                let glued = &argument[1 + at + letter.len_utf8()..];
                let mut value = |what: &str| match glued {
                    "" => rest.next().cloned().ok_or_else(|| BadUsage(format!("option \"-{letter}\" requires {what}"))),
                    glued => Ok(glued.to_owned()),
                };
                match letter {
                    'p' => options.prefix = Some(value("directory name")?),
                    'c' => options.conf = Some(value("file name")?),
                    'g' => options.directives = Some(value("parameter")?),
                    'e' => options.error_log = Some(none_if_stderr(value("file name")?)),
                    's' => options.signal = Some(signal(&value("parameter")?)?),
                    other => return Err(BadUsage(format!("invalid option: \"{other}\""))),
                }
                break;
            }
        }
        Ok(options)
    }

    /// Takes a letter that has no value; false if it is none.
    fn flag(&mut self, letter: char) -> bool {
        match letter {
            '?' | 'h' => (self.version, self.help) = (true, true),
            'v' => self.version = true,
            'V' => (self.version, self.configure) = (true, true),
            't' => self.test = true,
            'T' => (self.test, self.dump) = (true, true),
            'q' => self.quiet = true,
            _ => return false,
        }
        true
    }
}

fn none_if_stderr(name: String) -> String {
    if name == "stderr" { String::new() } else { name }
}

fn signal(name: &str) -> Result<Signal, BadUsage> {
    Ok(match name {
        "stop" => Signal::Stop,
        "quit" => Signal::Quit,
        "reopen" => Signal::Reopen,
        "reload" => Signal::Reload,
        _ => return Err(BadUsage(format!("invalid option: \"-s {name}\""))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Options, String> {
        let arguments: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        Options::parse(&arguments).map_err(|bad| bad.to_string())
    }

    #[test]
    fn letters_may_be_bundled_and_values_glued() {
        let options = parse(&["-tqc/a", "-p", "/b", "-gdaemon off;", "-estderr", "-sreload"]).unwrap();
        assert!(options.test && options.quiet && !options.dump);
        assert_eq!(options.conf.as_deref(), Some("/a"));
        assert_eq!(options.prefix.as_deref(), Some("/b"));
        assert_eq!(options.directives.as_deref(), Some("daemon off;"));
        assert_eq!(options.error_log.as_deref(), Some(""));
        assert_eq!(options.signal, Some(Signal::Reload));
    }

    #[test]
    fn what_is_not_understood_is_said_in_nginxs_words() {
        for (line, words) in [
            (&["-x"][..], "invalid option: \"x\""),
            (&["-tx"], "invalid option: \"x\""),
            (&["x"], "invalid option: \"x\""),
            (&["-t", "stop"], "invalid option: \"stop\""),
            (&["--help"], "invalid option: \"-\""),
            (&["-s", "foo"], "invalid option: \"-s foo\""),
            (&["-sfoo"], "invalid option: \"-s foo\""),
            (&["-p"], "option \"-p\" requires directory name"),
            (&["-c"], "option \"-c\" requires file name"),
            (&["-e"], "option \"-e\" requires file name"),
            (&["-g"], "option \"-g\" requires parameter"),
            (&["-s"], "option \"-s\" requires parameter"),
        ] {
            assert_eq!(parse(line), Err(words.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn a_lone_dash_and_nothing_are_nothing() {
        assert_eq!(parse(&["-"]), Ok(Options::default()));
        assert_eq!(parse(&[]), Ok(Options::default()));
    }
}
