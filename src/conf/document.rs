//! How does the table read for people? `docs/directives.md`, made from the same rows that the reader uses.

use std::fmt::Write as _;

use super::table::{Outcome, Row, Table};

const HEAD: &str = "# Directives\n\n\
Made from `src/conf/directives.tsv`; `SEMPER_BLESS=1 cargo test --test words` makes it anew.\n\n\
*yes*: does what nginx does. *ignored*: accepted with a `[warn]`, because ignoring it changes neither what is served nor who\n\
gets in; the reason stands beside it. *not yet*: refused with `[emerg] \"…\" is not yet supported`, unless its value is `off`.\n\
`semper -t` ends with a list of what a configuration has of the last two.\n\n\
Directives of semper and of nginx's ACME module may stand in `semper.conf` beside nginx.conf, so that nginx.conf stays one\n\
that nginx takes: `acme_issuer` there stands outside of every block, and `server_certificates NAME … { acme_certificate\n\
ISSUER …; }` gives the servers of nginx.conf that have one of the names their certificates. The files that nginx.conf names\n\
for them stay in place and are served while nothing better is there.\n";

/// The whole page.
pub fn page(table: &Table) -> String {
    let mut page = HEAD.to_owned();
    let mut modules: Vec<&str> = Vec::new();
    for row in table.rows() {
        if !modules.contains(&row.module) {
            modules.push(row.module);
        }
    }
    modules.sort_unstable();
    for module in modules {
        let _ = write!(page, "\n## {module}\n\n| directive | where | arguments | honoured |\n|---|---|---|---|\n");
        for row in table.rows().iter().filter(|row| row.module == module) {
            let _ = writeln!(page, "{}", line(row));
        }
    }
    page
}

fn line(row: &Row) -> String {
    let (homes, arity) = row.columns;
    let honoured = match row.outcome {
        Outcome::Honoured => "yes".to_owned(),
        Outcome::Ignored { why } => format!("ignored: {why}"),
        Outcome::NotYet => "not yet".to_owned(),
    };
    let homes = homes.replace(',', ", ");
    let arity = arity.replace('|', "\\|");
    format!("| `{}` | {homes} | {arity} | {honoured} |", row.name)
}
