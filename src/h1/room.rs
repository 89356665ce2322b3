//! How long may a request head be? Counted as nginx's buffers would fill, so that the same requests get 414 and 494.
//! Only arithmetic: the bytes themselves lie wherever the caller keeps them.

/// What a listener allows in a request head. nginx takes these of the address's default server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRules {
    /// `client_header_buffer_size`: room that every request has, bytes. Default 1 KiB.
    pub first_buffer: usize,
    /// `large_client_header_buffers`, number. Default 4.
    pub large_buffers: usize,
    /// `large_client_header_buffers`, size: no line may be longer. Bytes, default 8 KiB.
    pub large_buffer: usize,
    /// `ignore_invalid_headers`: drop fields with odd names instead of passing them on. Default on.
    pub ignore_invalid: bool,
    /// `underscores_in_headers`: a `_` does not make a name odd. Default off.
    pub underscores: bool,
}

impl Default for HeadRules {
    fn default() -> HeadRules {
        HeadRules { first_buffer: 1024, large_buffers: 4, large_buffer: 8192, ignore_invalid: true, underscores: false }
    }
}

/// Where nginx's present buffer would end, and how many large ones are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    end: usize,
    taken: usize,
}

impl Room {
    pub(super) fn new(rules: &HeadRules) -> Room {
        Room { end: rules.first_buffer.max(1), taken: 0 }
    }

    /// Where the present buffer ends.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Whether bytes up to `end` fit when the present line began at `line_start`. An unfinished line moves whole into
    /// the next large buffer; a line longer than one, or a buffer too many, does not fit.
    pub(super) fn fits(&mut self, rules: &HeadRules, line_start: usize, end: usize) -> bool {
        while end > self.end {
            let unfinished = self.end > line_start;
            if unfinished && self.end - line_start >= rules.large_buffer {
                return false;
            }
            if self.taken >= rules.large_buffers || rules.large_buffer == 0 {
                return false;
            }
            self.taken += 1;
            self.end = if unfinished { line_start } else { self.end } + rules.large_buffer;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_if_one_large_buffer_holds_it() {
        let rules = HeadRules::default();
        assert!(Room::new(&rules).fits(&rules, 0, 8192));
        assert!(!Room::new(&rules).fits(&rules, 0, 8193));
        // A line that began late in the first buffer has a whole large one to itself.
        assert!(Room::new(&rules).fits(&rules, 1000, 1000 + 8192));
    }

    #[test]
    fn four_large_buffers_and_no_more() {
        let rules = HeadRules::default();
        let mut room = Room::new(&rules);
        let lines = (0..).take_while(|n| room.fits(&rules, n * 4096, (n + 1) * 4096)).count();
        // The first line moves from the small buffer into the first large one; two lines fit each.
        assert_eq!(lines, 8);
    }
}
