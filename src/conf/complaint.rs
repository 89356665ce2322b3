//! What is wrong with the configuration, how bad is it, and where? nginx's one-line form, and one with a caret for people.

use std::fmt;

use crate::words::Place;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Said, and the configuration is used.
    Warn,
    /// The configuration is refused.
    Emerg,
}

/// Who forgives it. `-t` and `-s reload` forgive nothing, as nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: nothing can be run from this.
    Fatal,
    /// Nobody either; nginx finds it after everything was read, when `-t` has said `syntax is ok` already.
    Late,
    /// A start or a HUP goes on with the last good certificate, or a placeholder, unless `strict_start on`.
    CertificateBad,
    /// A start or a HUP goes on; the locations that need this upstream answer 502 until it resolves.
    UpstreamUnresolved,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// How bad it is.
    pub level: Level,
    /// Who forgives it; of meaning only with [`Level::Emerg`].
    pub kind: Kind,
    /// nginx's words.
    pub text: String,
    /// Where, unless it concerns the whole.
    pub place: Option<Place>,
}

impl Complaint {
    /// Refuses the configuration because of what stands at `place`.
    pub fn emerg(text: impl Into<String>, place: &Place) -> Complaint {
        Complaint { level: Level::Emerg, kind: Kind::Fatal, text: text.into(), place: Some(place.clone()) }
    }

    /// Refuses the configuration as a whole.
    pub fn placeless(text: impl Into<String>) -> Complaint {
        Complaint { level: Level::Emerg, kind: Kind::Fatal, text: text.into(), place: None }
    }

    /// Says something about `place` and goes on.
    pub fn warn(text: impl Into<String>, place: &Place) -> Complaint {
        Complaint { level: Level::Warn, ..Complaint::emerg(text, place) }
    }

    /// The same, of another kind.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Complaint {
        Complaint { kind, ..self }
    }

    /// Whether a start or a HUP (without `strict_start`) may go on all the same.
    pub fn is_forgivable(&self) -> bool {
        self.level == Level::Warn || !matches!(self.kind, Kind::Fatal | Kind::Late)
    }

    /// The offending line and a caret under the word that the message quotes; nothing if the file is not at hand.
    pub fn picture(&self, files: &[SourceFile]) -> Option<String> {
        let place = self.place.as_ref().filter(|place| place.line > 0)?;
        let file = files.iter().find(|file| file.path == *place.file)?;
        let text = String::from_utf8_lossy(&file.bytes);
        let line = text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
        let quoted =
            self.text.split('"').skip(1).step_by(2).find_map(|word| line.find(word).filter(|_| !word.is_empty()));
        let column = quoted.unwrap_or(line.len() - line.trim_start().len());
        let pad: String = line[..column].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        Some(format!("    {line}\n    {pad}^"))
    }
}

impl fmt::Display for Complaint {
    /// `nginx: [emerg] … in FILE:LINE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Warn => "warn",
            Level::Emerg => "emerg",
        };
        write!(f, "nginx: [{level}] {}", self.text)?;
        match &self.place {
            Some(place) => write!(f, " in {place}"),
            None => Ok(()),
        }
    }
}

/// A file that was read, for `-T` and for pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as nginx names it.
    pub path: String,
    /// Its bytes as they are.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_reads_as_nginx_writes_it_and_points_at_the_word() {
        let place = Place { file: "/etc/nginx/nginx.conf".into(), line: 2 };
        let complaint = Complaint::emerg("unknown directive \"wat\"", &place);
        assert_eq!(complaint.to_string(), "nginx: [emerg] unknown directive \"wat\" in /etc/nginx/nginx.conf:2");
        let file = SourceFile { path: "/etc/nginx/nginx.conf".into(), bytes: b"a;\n\t  wat x;\n".to_vec() };
        assert_eq!(complaint.picture(&[file]).unwrap(), "    \t  wat x;\n    \t  ^");
    }

    #[test]
    fn the_command_line_is_named_without_a_line() {
        let place = Place { file: "command line".into(), line: 0 };
        assert_eq!(Complaint::emerg("x", &place).to_string(), "nginx: [emerg] x in command line");
    }
}
