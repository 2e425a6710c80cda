//! Server-Sent Events, read with a parser of our own, over HTTP/1.1.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::{Stream, open};
use super::{Client, End, Message, Place};

/// One block of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A round.
    Round { event: String, id: String, data: Bytes },
    /// A comment, without its colon.
    Comment(String),
    /// How long to wait before connecting again.
    Retry(u64),
}

/// Takes the stream's bytes as they come and gives its events.
#[derive(Debug, Default)]
pub struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// Appends what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Nothing has begun that has not ended.
    pub fn is_between_events(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the first event that has arrived whole.
    pub fn pop(&mut self) -> Option<Event> {
        let end = self.bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let rest = self.bytes.split_off(end + 2);
        let block = String::from_utf8(std::mem::replace(&mut self.bytes, rest)).expect("UTF-8");
        let lines: Vec<&str> = block.trim_end_matches('\n').split('\n').collect();
        Some(match lines[..] {
            [event, id, data] => Event::Round {
                event: after(event, "event: "),
                id: after(id, "id: "),
                data: after(data, "data: ").into(),
            },
            // A notice: no identifier, so that a client keeps that of its last round.
            [event @ "event: gap", data] => Event::Round {
                event: after(event, "event: "),
                id: String::new(),
                data: after(data, "data: ").into(),
            },
            [line] if line.starts_with(':') => Event::Comment(after(line, ": ")),
            [line] => Event::Retry(after(line, "retry: ").parse().expect("milliseconds")),
            _ => panic!("no event the contract knows: {block:?}"),
        })
    }
}

fn after(line: &str, prefix: &str) -> String {
    line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line:?} does not begin with {prefix:?}")).to_owned()
}

/// A round or an end among the events; remembers the server's last words.
pub fn next_round(events: &mut Events, words: &mut Option<String>) -> Option<Bytes> {
    while let Some(event) = events.pop() {
        assert_eq!(*words, None, "something followed the goodbye: {event:?}");
        match event {
            Event::Round { data, .. } => return Some(data),
            Event::Comment(comment) => *words = comment.strip_prefix("closed: ").map(str::to_owned),
            Event::Retry(_) => {}
        }
    }
    None
}

/// How a stream ended that ended in order.
pub fn end_of(events: &Events, words: Option<String>) -> End {
    match words {
        _ if !events.is_between_events() => End::Broken("the stream ended inside an event".into()),
        Some(words) => End::Told { code: None, words },
        None => End::Silent,
    }
}

struct EventStream {
    stream: Box<dyn Stream>,
    events: Events,
    words: Option<String>,
}

/// A subscriber over HTTP/1.1.
pub async fn connect(place: &Place, target: &str) -> Result<Box<dyn Client>, String> {
    let mut stream = open(place, "http/1.1").await;
    let request = format!("GET {target} HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.map_err(|error| error.to_string())?);
    }
    let head = String::from_utf8(head).expect("text");
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(head);
    }
    Ok(Box::new(EventStream { stream, events: Events::default(), words: None }))
}

impl Client for EventStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Message, End>> {
        Box::pin(async {
            loop {
                if let Some(round) = next_round(&mut self.events, &mut self.words) {
                    return Ok(Message::Rounds(round));
                }
                let mut buffer = [0; 16 * 1024];
                match self.stream.read(&mut buffer).await {
                    Ok(0) => return Err(end_of(&self.events, self.words.take())),
                    Ok(count) => self.events.push(&buffer[..count]),
                    Err(error) => return Err(End::Broken(error.to_string())),
                }
            }
        })
    }
}
