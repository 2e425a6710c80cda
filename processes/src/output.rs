//! What a child prints: lines for its owner, and a bounded tail for error messages.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of output kept for error messages, of both streams together.
const TAIL_BYTES: usize = 16 * 1024;

/// Lines of standard output kept for an owner who does not read them; older ones go first.
const UNREAD_LINES: usize = 1024;

/// Longest line taken in one piece; a longer one is cut into several.
const LINE_BYTES: u64 = 64 * 1024;

/// Which stream a line came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Error,
}

/// The result of waiting for a line.
pub(crate) enum Line {
    /// A line, without its line break.
    Text(String),
    /// None will come: the child closed its standard output.
    Closed,
    /// None came in time.
    TimedOut,
}

/// Collects both streams of a child on threads of its own, so that a child never blocks on a full pipe.
#[derive(Clone)]
pub(crate) struct Output {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    tail: VecDeque<String>,
    tail_bytes: usize,
    unread: VecDeque<String>,
    out_open: bool,
    error_open: bool,
}

impl Output {
    /// Starts collecting.
    pub(crate) fn collect(
        out: impl Read + Send + 'static,
        error: impl Read + Send + 'static,
    ) -> std::io::Result<Self> {
        let state = State { out_open: true, error_open: true, ..State::default() };
        let output = Self { shared: Arc::new((Mutex::new(state), Condvar::new())) };
        output.clone().read_on_thread("child-stdout", out, Stream::Out)?;
        output.clone().read_on_thread("child-stderr", error, Stream::Error)?;
        Ok(output)
    }

    /// The next unread line of standard output.
    pub(crate) fn next_line(&self, patience: Duration) -> Line {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(line) = state.unread.pop_front() {
                return Line::Text(line);
            }
            if !state.out_open {
                return Line::Closed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Line::TimedOut;
            }
            state = self.wait(state, left);
        }
    }

    /// The end of both streams, in the order their lines arrived.
    pub(crate) fn tail(&self) -> String {
        let state = self.lock();
        state.tail.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// Waits until both streams are closed, so that the tail is complete. Bounded, since a grandchild can hold
    /// them open.
    pub(crate) fn wait_for_end(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.out_open || state.error_open {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.wait(state, left);
        }
    }

    fn read_on_thread(
        self,
        name: &str,
        source: impl Read + Send + 'static,
        stream: Stream,
    ) -> std::io::Result<()> {
        // Not joined: it ends with the pipe, which a stray grandchild may hold open longer than we live.
        thread::Builder::new().name(name.into()).spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            loop {
                line.clear();
                match source.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => self.push(&line, stream),
                }
            }
            let mut state = self.lock();
            match stream {
                Stream::Out => state.out_open = false,
                Stream::Error => state.error_open = false,
            }
            self.shared.1.notify_all();
        })?;
        Ok(())
    }

    fn push(&self, line: &[u8], stream: Stream) {
        let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        let mut state = self.lock();
        if stream == Stream::Out {
            state.unread.push_back(line.clone());
            if state.unread.len() > UNREAD_LINES {
                state.unread.pop_front();
            }
        }
        state.tail_bytes += line.len();
        state.tail.push_back(line);
        while state.tail_bytes > TAIL_BYTES || state.tail.len() > TAIL_BYTES {
            match state.tail.pop_front() {
                Some(oldest) => state.tail_bytes -= oldest.len(),
                None => break,
            }
        }
        self.shared.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        self.shared.1.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn numbered_lines(count: usize) -> impl Read + Send + 'static {
        let lines: Vec<String> = (0..count).map(|number| format!("line {number}\n")).collect();
        std::io::Cursor::new(lines.concat())
    }

    #[test]
    fn lines_come_in_order_and_the_end_is_told() {
        let output = Output::collect(&b"one\ntwo\nlast"[..], &b""[..]).expect("threads");
        for expected in ["one", "two", "last"] {
            assert!(matches!(output.next_line(PATIENCE), Line::Text(line) if line == expected));
        }
        assert!(matches!(output.next_line(PATIENCE), Line::Closed));
    }

    #[test]
    fn the_tail_is_bounded_and_keeps_the_newest() {
        let output = Output::collect(numbered_lines(10_000), &b"\xff not text\n"[..]).expect("threads");
        output.wait_for_end(PATIENCE);
        let tail = output.tail();
        assert!(tail.contains("line 9999\n"));
        assert!(!tail.contains("line 1\n"));
        assert!(tail.len() < 2 * TAIL_BYTES);
    }

    #[test]
    fn an_unread_output_keeps_its_newest_lines_only() {
        let output = Output::collect(numbered_lines(UNREAD_LINES + 5), &b""[..]).expect("threads");
        output.wait_for_end(PATIENCE);
        assert!(matches!(output.next_line(PATIENCE), Line::Text(line) if line == "line 5"));
    }
}
