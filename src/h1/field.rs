//! Where are the parts of a header line? A machine that keeps its place; the same for requests, responses and trailers.
//! Its language is nginx's: no folding, no space before the colon, no NUL; a line without colon is a name with no value.
//! But a line of a client ends in CRLF and nothing else.

/// Offsets of one field into the bytes given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) name: (u32, u32),
    pub(super) value: (u32, u32),
}

impl Span {
    pub(super) fn name<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.name.0 as usize..self.name.1 as usize]
    }

    pub(super) fn value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.value.0 as usize..self.value.1 as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    Name,
    BeforeValue,
    Value,
    /// A second status line among the fields, as some servers send it: passed over.
    Ignored,
    AlmostDone,
    HeadAlmostDone,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The bytes ended within a line.
    More,
    /// One field; `odd` if its name has bytes that are not expected in one.
    Field { span: Span, odd: bool },
    /// The empty line.
    End,
}

/// A byte that no header line may have where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offence {
    pub(super) line_start: usize,
    pub(super) at: usize,
}

/// One header line after another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldLine {
    state: State,
    span: Span,
    odd: bool,
    underscores: bool,
    lenient: bool,
}

impl FieldLine {
    /// For clients: lines end in CRLF. `underscores`: a `_` does not make a name odd.
    pub(super) fn strict(underscores: bool) -> FieldLine {
        FieldLine { underscores, ..FieldLine::default() }
    }

    /// For upstreams, as nginx: lines may end in LF, and repeated status lines are passed over.
    pub(super) fn lenient() -> FieldLine {
        FieldLine { underscores: true, lenient: true, ..FieldLine::default() }
    }

    /// First byte of the present line.
    pub(super) fn line_start(&self) -> usize {
        self.span.name.0 as usize
    }

    /// Whether no byte of the present line has been seen.
    pub(super) fn between_lines(&self) -> bool {
        self.state == State::Start
    }

    /// Looks at `buf[*at..]` up to the end of one line.
    // Longer than sixty lines: one machine, and every state of it is seen at a glance.
    pub(super) fn step(&mut self, buf: &[u8], at: &mut usize) -> Result<Step, Offence> {
        while let Some(&byte) = buf.get(*at) {
            let here = *at as u32;
            *at += 1;
            match self.state {
                State::Start => {
                    self.span.name = (here, here);
                    self.odd = false;
                    match byte {
                        b'\r' => self.state = State::HeadAlmostDone,
                        b'\n' if self.lenient => return Ok(Step::End),
                        b':' => return Err(self.offence(here)),
                        _ => self.name(byte, here)?,
                    }
                }
                State::Name => match byte {
                    b':' => {
                        self.span.name.1 = here;
                        self.state = State::BeforeValue;
                    }
                    b'\n' if !self.lenient => return Err(self.offence(here)),
                    b'\r' | b'\n' => {
                        self.span.name.1 = here;
                        self.span.value = (here, here);
                        if byte == b'\n' {
                            return Ok(self.done());
                        }
                        self.state = State::AlmostDone;
                    }
                    b'/' if self.lenient && &buf[self.line_start()..here as usize] == b"HTTP" => {
                        self.state = State::Ignored;
                    }
                    _ => {
                        self.name(byte, here)?;
                        // Most of a name is plain, and needs no second look.
                        *at += buf[*at..].iter().take_while(|byte| NAME[usize::from(**byte)] == PLAIN).count();
                    }
                },
                State::BeforeValue => {
                    if byte != b' ' {
                        self.span.value = (here, here);
                        self.state = State::Value;
                        *at -= 1;
                    }
                }
                State::Value => {
                    let from = here as usize;
                    let Some(length) = memchr::memchr3(b'\r', b'\n', 0, &buf[from..]) else {
                        *at = buf.len();
                        return Ok(Step::More);
                    };
                    let stop = from + length;
                    *at = stop + 1;
                    let value = &buf[self.span.value.0 as usize..stop];
                    let spaces = value.iter().rev().take_while(|&&b| b == b' ').count();
                    self.span.value.1 = (stop - spaces) as u32;
                    match buf[stop] {
                        b'\n' if self.lenient => return Ok(self.done()),
                        b'\r' => self.state = State::AlmostDone,
                        _ => return Err(self.offence(stop as u32)),
                    }
                }
                State::Ignored => {
                    if byte == b'\n' {
                        self.state = State::Start;
                    }
                }
                State::AlmostDone if byte == b'\n' => return Ok(self.done()),
                State::HeadAlmostDone if byte == b'\n' => {
                    self.state = State::Start;
                    return Ok(Step::End);
                }
                State::AlmostDone | State::HeadAlmostDone => return Err(self.offence(here - 1)),
            }
        }
        Ok(Step::More)
    }

    fn name(&mut self, byte: u8, here: u32) -> Result<(), Offence> {
        self.state = State::Name;
        match NAME[usize::from(byte)] {
            PLAIN => Ok(()),
            UNDERSCORE => {
                self.odd |= !self.underscores;
                Ok(())
            }
            ODD => {
                self.odd = true;
                Ok(())
            }
            _ => Err(self.offence(here)),
        }
    }

    fn done(&mut self) -> Step {
        self.state = State::Start;
        Step::Field { span: self.span, odd: self.odd }
    }

    fn offence(&self, at: u32) -> Offence {
        Offence { line_start: self.line_start(), at: at as usize }
    }
}

const PLAIN: u8 = 0;
const UNDERSCORE: u8 = 1;
const ODD: u8 = 2;
const REFUSED: u8 = 3;

/// What each byte means in a field name: letters, digits and `-` are plain, controls and space are refused.
static NAME: [u8; 256] = {
    let mut table = [ODD; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => PLAIN,
            b'_' => UNDERSCORE,
            0..=b' ' | 0x7f => REFUSED,
            _ => ODD,
        };
        byte += 1;
    }
    table
};
