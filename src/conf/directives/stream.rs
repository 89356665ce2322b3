//! stream { … }: not honoured yet. Its directives are looked up and checked by the table all the same, so that what nginx
//! would refuse is refused with nginx's words.

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::{Level, directive_is};
use crate::conf::table::{Home, Row, Type};
use crate::conf::tree::Directive;
use crate::conf::variables::Variables;

struct Block {
    home: Home,
    level: Level,
    servers: usize,
}

/// Reads the `stream` block.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive, earlier: bool) -> Result<(), Complaint> {
    if earlier {
        return Err(directive_is(directive, "is duplicate"));
    }
    inside(reader, directive, Home::Stream).map(drop)
}

fn inside(reader: &mut Reader<'_>, directive: &Directive, home: Home) -> Result<Block, Complaint> {
    let mut inner = Block { home, level: Level::default(), servers: 0 };
    if let Some(block) = &directive.block {
        reader.walk(block, &mut inner)?;
    }
    Ok(inner)
}

impl Scope for Block {
    fn home(&self) -> Home {
        self.home
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        let Some(block) = &directive.block else {
            self.servers += usize::from(row.name == "server");
            if row.value == Type::Own && row.name == "proxy_pass" && self.level.has(row.name) {
                return Err(directive_is(directive, "is duplicate"));
            }
            return self.level.set(row, directive, &mut Variables::default(), &mut reader.complaints);
        };
        match row.name {
            "server" => inside(reader, directive, Home::StreamServer).map(drop),
            "upstream" => {
                let upstream = inside(reader, directive, Home::StreamUpstream)?;
                if upstream.servers == 0 {
                    return Err(Complaint::emerg("no servers are inside upstream", &block.end));
                }
                Ok(())
            }
            _ => reader.lines(block, &mut |_, _| Ok(())),
        }
    }
}
