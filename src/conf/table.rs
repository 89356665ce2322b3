//! Which directives exist, where may they stand, how many arguments do they take, and what becomes of them?
//! One table (`directives.tsv`) feeds the reader, the notes of `-t` and `docs/directives.md`.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Where a directive may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// Outside of every block.
    Main,
    /// `events { }`
    Events,
    /// `http { }`
    Http,
    /// `server { }` in `http`
    Server,
    /// `location { }`
    Location,
    /// `if` in a server
    IfInServer,
    /// `if` in a location
    IfInLocation,
    /// `limit_except { }`
    LimitExcept,
    /// `upstream { }` in `http`
    Upstream,
    /// `stream { }`
    Stream,
    /// `server { }` in `stream`
    StreamServer,
    /// `upstream { }` in `stream`
    StreamUpstream,
    /// `acme_issuer { }`
    AcmeIssuer,
    /// `acme_dns_provider { }`
    AcmeDnsProvider,
    /// `acme_on_demand { }`
    AcmeOnDemand,
    /// `server_certificates { }`
    ServerCertificates,
    /// `fleet { }`
    Fleet,
}

const HOMES: [(&str, Home); 17] = [
    ("main", Home::Main),
    ("events", Home::Events),
    ("http", Home::Http),
    ("server", Home::Server),
    ("location", Home::Location),
    ("if-in-server", Home::IfInServer),
    ("if-in-location", Home::IfInLocation),
    ("limit_except", Home::LimitExcept),
    ("upstream", Home::Upstream),
    ("stream", Home::Stream),
    ("stream-server", Home::StreamServer),
    ("stream-upstream", Home::StreamUpstream),
    ("acme-issuer", Home::AcmeIssuer),
    ("acme-dns-provider", Home::AcmeDnsProvider),
    ("acme-on-demand", Home::AcmeOnDemand),
    ("server-certificates", Home::ServerCertificates),
    ("fleet", Home::Fleet),
];

impl Home {
    /// As the table and the documentation spell it.
    pub fn name(self) -> &'static str {
        HOMES.iter().find(|(_, home)| *home == self).map_or("", |(name, _)| name)
    }
}

/// How many arguments a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// One, `on` or `off`.
    Flag,
    /// This many or more.
    AtLeast(u8),
    /// From (first) to (second).
    Between(u8, u8),
}

impl Arity {
    fn parse(text: &str) -> Option<Arity> {
        if text == "on|off" {
            return Some(Arity::Flag);
        }
        if let Some(least) = text.strip_suffix('+') {
            return least.parse().ok().map(Arity::AtLeast);
        }
        let mut numbers = text.split([' ', '-']).filter_map(|word| word.parse().ok());
        let least = numbers.next()?;
        Some(Arity::Between(least, numbers.next_back().unwrap_or(least)))
    }

    /// Whether `count` arguments are right.
    pub fn takes(self, count: usize) -> bool {
        match self {
            Arity::Flag => count == 1,
            Arity::AtLeast(least) => count >= usize::from(least),
            Arity::Between(least, most) => (usize::from(least)..=usize::from(most)).contains(&count),
        }
    }
}

/// How the arguments are read, before the directive's own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `on` or `off`
    Flag,
    /// A count.
    Number,
    /// Bytes, with `k` or `m`.
    Size,
    /// Bytes, with `k`, `m` or `g`.
    Offset,
    /// A time down to milliseconds.
    Milliseconds,
    /// A time down to seconds.
    Seconds,
    /// A number of buffers and their size.
    Buffers,
    /// One of the words.
    Enum,
    /// Some of the words.
    Bitmask,
    /// Text, once.
    Text,
    /// Text, any number of times.
    TextList,
    /// A name and a value, any number of times.
    KeyValue,
    /// Text with variables, once.
    Template,
    /// Text with variables that yields a size.
    TemplateSize,
    /// Texts with variables of which one must be true.
    Predicates,
    /// A directory and its levels.
    Path,
    /// Rights for user, group and all.
    Access,
    /// Rules of its own.
    Own,
}

impl Type {
    fn parse(text: &str) -> Option<Type> {
        Some(match text {
            "flag" => Type::Flag,
            "number" => Type::Number,
            "size" => Type::Size,
            "offset" => Type::Offset,
            "time_ms" => Type::Milliseconds,
            "time_s" => Type::Seconds,
            "buffers" => Type::Buffers,
            "enum" => Type::Enum,
            "bitmask" => Type::Bitmask,
            "string" => Type::Text,
            "string_list" => Type::TextList,
            "keyval" => Type::KeyValue,
            "template" => Type::Template,
            "template_size" => Type::TemplateSize,
            "predicates" => Type::Predicates,
            "path" => Type::Path,
            "access" => Type::Access,
            "own" => Type::Own,
            _ => return None,
        })
    }
}

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does what nginx does.
    Honoured,
    /// It is accepted with a `[warn]`: ignoring it changes neither what is served nor who gets in.
    Ignored {
        /// Why that is harmless.
        why: &'static str,
    },
    /// It is refused with an `[emerg]`, unless it is `off`.
    NotYet,
}

/// One directive in one or more homes.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// The module of nginx (or `semper`) that it belongs to.
    pub module: &'static str,
    homes: u32,
    /// How many arguments.
    pub arity: Arity,
    /// Whether it takes a block.
    pub block: bool,
    /// How its arguments are read.
    pub value: Type,
    /// The words of an enum or bitmask.
    pub words: Vec<&'static str>,
    /// The bounds of a number, both included.
    pub bounds: Option<(u64, u64)>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The columns `contexts` and `arity` as the table spells them, for the documentation.
    pub columns: (&'static str, &'static str),
}

impl Row {
    /// Whether it may stand in `home`.
    pub fn lives_in(&self, home: Home) -> bool {
        self.homes & 1 << home as u32 != 0
    }

    fn parse(line: &'static str) -> Option<Row> {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().unwrap_or("");
        let (name, module, contexts, arity, value, values, outcome, why) =
            (cell(), cell(), cell(), cell(), cell(), cell(), cell(), cell());
        let homes = HOMES
            .iter()
            .filter(|(name, _)| contexts == "any" || contexts.split(',').any(|context| context == *name))
            .fold(0, |homes, (_, home)| homes | 1 << *home as u32);
        let value = Type::parse(value)?;
        let bounds = match value {
            Type::Number => {
                values.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)))
            }
            _ => None,
        };
        Some(Row {
            name,
            module,
            homes,
            arity: Arity::parse(arity.strip_prefix("block ").unwrap_or(arity))?,
            block: arity.starts_with("block "),
            value,
            words: if bounds.is_some() {
                Vec::new()
            } else {
                values.split('|').filter(|word| !word.is_empty()).collect()
            },
            bounds,
            outcome: match outcome {
                "yes" => Outcome::Honoured,
                "no" => Outcome::Ignored { why },
                "later" => Outcome::NotYet,
                _ => return None,
            },
            columns: (contexts, arity),
        })
    }
}

/// All rows.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    by_name: HashMap<&'static str, Vec<usize>>,
}

/// What the table says about a name in a home.
#[derive(Debug)]
pub enum Found {
    /// It may stand there.
    Here(&'static Row),
    /// It exists, elsewhere.
    Elsewhere,
    /// There is no such directive.
    Nowhere,
}

/// The one table.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = include_str!("directives.tsv").lines().filter(|line| !line.starts_with('#')).skip(1);
        let rows: Vec<Row> = lines.filter_map(Row::parse).collect();
        let mut by_name: HashMap<&'static str, Vec<usize>> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            by_name.entry(row.name).or_default().push(index);
        }
        Table { rows, by_name }
    })
}

impl Table {
    /// All rows, in the order of the modules.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Looks a name up where it stands.
    pub fn find(&'static self, name: &str, home: Home) -> Found {
        let Some(indexes) = self.by_name.get(name) else { return Found::Nowhere };
        match indexes.iter().map(|index| &self.rows[*index]).find(|row| row.lives_in(home)) {
            Some(row) => Found::Here(row),
            None => Found::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let lines = include_str!("directives.tsv").lines().filter(|line| !line.starts_with('#')).skip(1).count();
        assert_eq!(table().rows().len(), lines);
        assert!(table().rows().iter().filter(|row| row.module != "semper").count() >= 689);
        for row in table().rows() {
            assert_ne!(row.homes, 0, "{} stands nowhere", row.name);
            assert!(!matches!(row.outcome, Outcome::Ignored { why: "" }), "{} is ignored without a reason", row.name);
        }
    }

    #[test]
    fn one_name_has_different_rules_in_different_homes() {
        let Found::Here(block) = table().find("server", Home::Http) else { panic!("server in http") };
        let Found::Here(line) = table().find("server", Home::Upstream) else { panic!("server in upstream") };
        assert!(block.block && !line.block);
        assert!(matches!(table().find("server", Home::Main), Found::Elsewhere));
        assert!(matches!(table().find("sever", Home::Main), Found::Nowhere));
        assert!(matches!(table().find("include", Home::AcmeIssuer), Found::Here(_)));
    }

    #[test]
    fn arity_is_read_in_all_its_forms() {
        assert!(Arity::parse("2+").unwrap().takes(7) && !Arity::parse("2+").unwrap().takes(1));
        assert!(Arity::parse("0 1-2").unwrap().takes(0) && !Arity::parse("1-2").unwrap().takes(3));
    }
}
