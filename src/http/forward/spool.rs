//! How is an upstream set free while its answer waits for a slow client (`proxy_buffering on`)? What the client has not
//! taken yet waits in memory, beyond `proxy_buffers` in a file without a name, at most `proxy_max_temp_file_size`; only
//! then does the upstream wait too.

use super::answer_body::AnswerBody;
use crate::http::message::{BodyError, Source};
use crate::words::Fields;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Bytes of the file that are read at once.
const FILE_CHUNK: u64 = 64 * 1024;
/// Two reads from the upstream always have room in memory, however small `proxy_buffers` are.
const LEAST_MEMORY: usize = 128 * 1024;

/// A client that takes nothing for so long is slow: what comes for it goes to a file.
const PATIENCE: Duration = Duration::from_millis(10);

/// Where and how much may wait.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// `proxy_buffers`, bytes of all.
    pub memory: usize,
    /// `proxy_max_temp_file_size`.
    pub file: u64,
    /// `proxy_temp_path`.
    pub directory: PathBuf,
}

/// Opens a file that has no name and is gone when it is closed. A directory that is not there is made; where that is not
/// allowed, the system's own takes its place: an upload is worth more than the place where it waits.
pub(super) fn nameless(directory: &Path) -> io::Result<File> {
    use std::os::unix::fs::DirBuilderExt;
    let first = nameless_in(directory);
    let Err(error) = first else { return first };
    let made = error.kind() == io::ErrorKind::NotFound
        && std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).is_ok();
    if made && let Ok(file) = nameless_in(directory) {
        return Ok(file);
    }
    tracing::error!("open() \"{}\" failed ({})", directory.display(), crate::net::dial::errno(&error));
    nameless_in(&std::env::temp_dir())
}

fn nameless_in(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(descriptor) => Ok(descriptor.into()),
        // A file system without O_TMPFILE: a name for a moment.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => named_for_a_moment(directory),
        Err(error) => Err(error.into()),
    }
}

fn named_for_a_moment(directory: &Path) -> io::Result<File> {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let path = directory.join(format!("{}.{:010}", std::process::id(), NEXT.fetch_add(1, Relaxed)));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// What waits between the task that reads and the client.
struct Waiting {
    memory: VecDeque<Bytes>,
    bytes: usize,
    file: Option<File>,
    /// What of the file has been taken, and what was put into it. Everything in the file is younger than the memory.
    taken: u64,
    put: u64,
    /// The disk would not take a piece. It waits here until all before it has gone, and no file is used any more: the
    /// upstream waits for the client from now on.
    stranded: Option<Bytes>,
    no_disk: bool,
    end: Option<Option<BodyError>>,
    trailers: Option<Fields>,
    client: Option<Waker>,
    reader: Option<Waker>,
}

impl Waiting {
    fn in_file(&self) -> bool {
        self.put > self.taken
    }

    fn has_room(&self, room: &Room) -> bool {
        match self.in_file() {
            _ if self.stranded.is_some() => false,
            true => self.put < room.file && !self.no_disk,
            false => self.bytes < room.memory.max(LEAST_MEMORY),
        }
    }

    fn put(&mut self, piece: Bytes, room: &Room) {
        if room.file == 0 || (!self.in_file() && (self.no_disk || self.has_room(room))) {
            self.bytes += piece.len();
            self.memory.push_back(piece);
            return;
        }
        if !self.in_file() {
            (self.taken, self.put) = (0, 0);
        }
        if let Err(error) = self.write(&piece, room) {
            let (directory, why) = (room.directory.display(), crate::net::dial::errno(&error));
            tracing::error!(
                level = "crit",
                "pwrite() in \"{directory}\" failed ({why}); the upstream waits for the client instead"
            );
            self.no_disk = true;
            self.stranded = Some(piece);
        }
    }

    fn write(&mut self, piece: &Bytes, room: &Room) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(nameless(&room.directory)?);
        }
        if let Some(file) = &self.file {
            file.write_all_at(piece, self.put)?;
            self.put += piece.len() as u64;
        }
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(piece) = self.memory.pop_front() {
            self.bytes -= piece.len();
            return Ok(Some(piece));
        }
        let Some(file) = self.file.as_ref().filter(|_| self.in_file()) else { return Ok(self.stranded.take()) };
        let mut chunk = vec![0; (self.put - self.taken).min(FILE_CHUNK) as usize];
        file.read_exact_at(&mut chunk, self.taken)?;
        self.taken += chunk.len() as u64;
        Ok(Some(chunk.into()))
    }
}

/// Beyond this a body is read by a task of its own, so that a slow client does not hold the upstream; less than this the
/// kernel's buffers hold.
const SPOOLED_FROM: u64 = 64 * 1024;

/// A body with `proxy_buffering on`: read as it is asked for while it is short, spooled when it proves to be long.
pub(super) enum Buffered {
    /// Short so far.
    Direct(Option<Box<AnswerBody>>, Room),
    /// Long.
    Spooled(Spool),
}

impl Buffered {
    /// Nothing is read before it is asked for.
    pub(super) fn new(body: Box<AnswerBody>, room: Room) -> Buffered {
        Buffered::Direct(Some(body), room)
    }
}

impl Source for Buffered {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Buffered::Direct(direct, room) = self
            && let Some(body) = direct.take_if(|body| body.is_longer_than(SPOOLED_FROM))
        {
            *self = Buffered::Spooled(Spool::new(*body, room.clone()));
        }
        match self {
            Buffered::Direct(Some(body), _) => body.poll_chunk(cx),
            Buffered::Direct(None, _) => Poll::Ready(None),
            Buffered::Spooled(spool) => spool.poll_chunk(cx),
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        match self {
            Buffered::Direct(body, _) => body.as_mut()?.trailers(),
            Buffered::Spooled(spool) => spool.trailers(),
        }
    }
}

/// Reads `source` in a task of its own; what it hands out waits here for the client.
pub(super) struct Spool {
    waiting: Rc<RefCell<Waiting>>,
    task: tokio::task::AbortHandle,
}

impl Spool {
    /// Starts reading.
    pub(super) fn new(source: impl Source + 'static, room: Room) -> Spool {
        let waiting = Rc::new(RefCell::new(Waiting {
            memory: VecDeque::new(),
            bytes: 0,
            file: None,
            taken: 0,
            put: 0,
            stranded: None,
            no_disk: false,
            end: None,
            trailers: None,
            client: None,
            reader: None,
        }));
        let task = tokio::task::spawn_local(read(source, room, waiting.clone())).abort_handle();
        Spool { waiting, task }
    }
}

async fn read(mut source: impl Source, room: Room, waiting: Rc<RefCell<Waiting>>) {
    loop {
        wait_for_room(&waiting, &room).await;
        let piece = std::future::poll_fn(|cx| source.poll_chunk(cx)).await;
        let mut waiting = waiting.borrow_mut();
        match piece {
            Some(Ok(piece)) => waiting.put(piece, &room),
            Some(Err(error)) => waiting.end = Some(Some(error)),
            None => {
                waiting.trailers = source.trailers();
                waiting.end = Some(None);
            }
        }
        if let Some(client) = waiting.client.take() {
            client.wake();
        }
        if waiting.end.is_some() {
            return;
        }
    }
}

/// Waits until something more may come. A client that keeps up gets its turn before anything is written to a file.
async fn wait_for_room(waiting: &Rc<RefCell<Waiting>>, room: &Room) {
    if waiting.borrow().has_room(room) {
        return;
    }
    let files = room.file > 0 && !waiting.borrow().in_file() && !waiting.borrow().no_disk;
    let freed = std::future::poll_fn(|cx| waiting.borrow_mut().poll_room(room, cx));
    if files {
        let _ = tokio::time::timeout(PATIENCE, freed).await;
    } else {
        freed.await;
    }
}

impl Waiting {
    fn poll_room(&mut self, room: &Room, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_room(room) {
            return Poll::Ready(());
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Source for Spool {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut waiting = self.waiting.borrow_mut();
        let taken = waiting.take();
        if let Some(reader) = waiting.reader.take() {
            reader.wake();
        }
        match taken {
            Err(error) => Poll::Ready(Some(Err(error.into()))),
            Ok(Some(piece)) => Poll::Ready(Some(Ok(piece))),
            Ok(None) => match &mut waiting.end {
                Some(end) => Poll::Ready(end.take().map(Err)),
                None => {
                    waiting.client = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.waiting.borrow_mut().trailers.take()
    }
}

impl Drop for Spool {
    /// The client has gone, or has all: the upstream's connection is closed with the task, if it has not ended.
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every write to it fails as on a full disk.
    fn full_disk() -> File {
        File::options().read(true).write(true).open("/dev/full").unwrap()
    }

    fn waiting(file: Option<File>) -> Waiting {
        Waiting {
            memory: VecDeque::new(),
            bytes: 0,
            file,
            taken: 0,
            put: 0,
            stranded: None,
            no_disk: false,
            end: None,
            trailers: None,
            client: None,
            reader: None,
        }
    }

    #[test]
    fn a_full_disk_holds_the_upstream_up_and_loses_nothing() {
        let room = Room { memory: LEAST_MEMORY, file: 1 << 30, directory: std::env::temp_dir() };
        let piece = |fill: u8| Bytes::from(vec![fill; 64 << 10]);
        for written in [0, 2] {
            let mut waiting = waiting((written == 0).then(full_disk));
            let mut put = 0;
            while put < 2 + written {
                assert!(put >= 2 || waiting.has_room(&room));
                waiting.put(piece(put), &room);
                put += 1;
            }
            let kept = waiting.file.replace(full_disk());
            waiting.put(piece(put), &room);
            waiting.file = kept.or(waiting.file.take());
            assert!(!waiting.has_room(&room) && waiting.no_disk);
            let mut taken = Vec::new();
            while let Some(bytes) = waiting.take().unwrap() {
                taken.extend_from_slice(&bytes);
            }
            let all: Vec<u8> = (0..=put).flat_map(|fill| piece(fill).to_vec()).collect();
            assert!(taken == all, "{} of {} bytes", taken.len(), all.len());
            // From now on memory alone, and no more of it than there was.
            assert!(waiting.has_room(&room));
            waiting.put(piece(7), &room);
            waiting.put(piece(8), &room);
            assert!(!waiting.has_room(&room) && !waiting.in_file());
        }
    }

    #[test]
    fn a_missing_directory_is_made_and_a_forbidden_one_replaced() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("a/b");
        let file = nameless(&missing).unwrap();
        file.write_all_at(b"kept", 0).unwrap();
        assert!(missing.is_dir() && std::fs::read_dir(&missing).unwrap().next().is_none());
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(nameless(&root.path().join("file/below")).is_ok());
    }
}
