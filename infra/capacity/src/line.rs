//! One keep-alive connection to the ingress.
//!
//! HTTP/1.1 over a plain socket, one request at a time, into buffers that are reused: the generator shares its machine
//! with what it measures, so a request has to cost little more than its two system calls. Heads are read by `httparse`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::OrderId;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::mix::What;
use crate::request::Requests;
use crate::target::Target;

/// An answer is a few hundred bytes; whatever is longer than this is not ours.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It was answered.
    Answered {
        status: u16,
        /// Of a 202.
        order_id: Option<OrderId>,
        /// The body of a refusal, as text.
        refusal: Option<String>,
    },
    /// It may have arrived or not.
    Nothing,
    /// It never left: there was no connection.
    NotSent,
}

/// What requests go through; tests put something else in the place of a socket.
pub(crate) trait Line: Send {
    /// Sends request `n` and waits for the answer.
    fn post(&mut self, n: u64, what: What) -> impl Future<Output = Reply> + Send;

    /// Gives the connection up: an answer that comes now belongs to a request that was given up.
    fn hang_up(&mut self);
}

#[derive(Deserialize)]
struct Accepted {
    order_id: OrderId,
}

/// A socket, or none at the moment.
pub(crate) struct Socket {
    target: Arc<Target>,
    requests: Arc<Requests>,
    stream: Option<TcpStream>,
    pause: Duration,
    out: Vec<u8>,
    scratch: Vec<u8>,
    input: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(target: Arc<Target>, requests: Arc<Requests>) -> Self {
        let (out, scratch, input) = (Vec::with_capacity(1024), Vec::new(), Vec::with_capacity(4096));
        Self { target, requests, stream: None, pause: FIRST_PAUSE, out, scratch, input }
    }

    /// The open stream; a new one where there is none or the other side has closed it while it was idle. A failure waits
    /// a while, so that an ingress that is away is not asked in a loop.
    async fn open(&mut self) -> Option<&mut TcpStream> {
        let closed = self.stream.as_ref().is_some_and(|stream| {
            // A server closes idle connections. To find that out by sending would leave the outcome unknown.
            !matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        });
        if closed {
            self.stream = None;
        }
        if self.stream.is_none() {
            if let Ok(stream) = self.target.connect().await {
                self.stream = Some(stream);
                self.pause = FIRST_PAUSE;
            } else {
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
        self.stream.as_mut()
    }
}

impl Line for Socket {
    async fn post(&mut self, n: u64, what: What) -> Reply {
        if self.open().await.is_none() {
            return Reply::NotSent;
        }
        let Some(stream) = self.stream.as_mut() else { return Reply::NotSent };
        self.out.clear();
        self.requests.write(n, what, &mut self.out, &mut self.scratch);
        let exchanged = match stream.write_all(&self.out).await {
            Ok(()) => read(stream, &mut self.input).await,
            Err(error) => Err(error),
        };
        let Ok(Answer { reply, closes }) = exchanged else {
            self.stream = None;
            return Reply::Nothing;
        };
        if closes {
            self.stream = None;
        }
        reply
    }

    fn hang_up(&mut self) {
        self.stream = None;
    }
}

struct Answer {
    reply: Reply,
    closes: bool,
}

/// How long a body is.
enum Length {
    Bytes(usize),
    Chunked,
}

struct Head {
    status: u16,
    bytes: usize,
    length: Length,
    closes: bool,
}

async fn read(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Answer> {
    input.clear();
    let head = loop {
        fill(stream, input).await?;
        if let Some(head) = head(input)? {
            break head;
        }
    };
    let body = match head.length {
        Length::Bytes(length) => {
            while input.len() < head.bytes + length {
                fill(stream, input).await?;
            }
            &input[head.bytes..head.bytes + length]
        }
        Length::Chunked => {
            while !input[head.bytes..].ends_with(b"0\r\n\r\n") {
                fill(stream, input).await?;
            }
            // Its first chunk is enough to read an id or a refusal's beginning.
            first_chunk(&input[head.bytes..])?
        }
    };
    let accepted = (head.status == 202).then(|| serde_json::from_slice::<Accepted>(body).ok()).flatten();
    let refusal = (head.status >= 300).then(|| String::from_utf8_lossy(body).into_owned());
    let order_id = accepted.map(|accepted| accepted.order_id);
    Ok(Answer { reply: Reply::Answered { status: head.status, order_id, refusal }, closes: head.closes })
}

async fn fill(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
    if input.len() > MAX_ANSWER_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of more than 64 KiB"));
    }
    match stream.read_buf(input).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// The head, once it is complete.
fn head(input: &[u8]) -> io::Result<Option<Head>> {
    let invalid = |error: &dyn std::error::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(bytes) = response.parse(input).map_err(|error| invalid(&error))? else {
        return Ok(None);
    };
    let mut head = Head {
        status: response.code.unwrap_or(0),
        bytes,
        length: Length::Bytes(0),
        closes: response.version == Some(0),
    };
    for header in &*response.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|error| invalid(&error))?;
            head.length = Length::Bytes(text.trim().parse().map_err(|error: std::num::ParseIntError| invalid(&error))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.length = Length::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.closes |= header.value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some(head))
}

fn first_chunk(body: &[u8]) -> io::Result<&[u8]> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a body in broken chunks");
    match httparse::parse_chunk_size(body).map_err(|_| broken())? {
        httparse::Status::Complete((start, size)) => {
            let size = usize::try_from(size).map_err(|_| broken())?;
            body.get(start..start.saturating_add(size)).ok_or_else(broken)
        }
        httparse::Status::Partial => Err(broken()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::mix::{Events, Mix};

    /// A server that answers each request of a connection with the next of `answers`, then closes.
    async fn against(answers: &'static [&'static str], posts: usize) -> Vec<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            for answer in answers {
                let _ = stream.read(&mut request).await;
                for part in answer.split('|') {
                    stream.write_all(part.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            drop((stream, listener));
        };
        let client = async {
            let mix = Mix::events("run", Events::Single, 1).unwrap();
            let target = Arc::new(Target::resolve(&url, None).await.unwrap());
            let requests = Arc::new(Requests::new(&mix, target.authority(), "k"));
            let mut socket = Socket::new(target, requests);
            let mut replies = Vec::new();
            for n in 0..posts as u64 {
                replies.push(socket.post(n, mix.pick(n)).await);
            }
            replies
        };
        tokio::join!(serve, client).1
    }

    fn status(reply: &Reply) -> u16 {
        match reply {
            Reply::Answered { status, .. } => *status,
            _ => 0,
        }
    }

    #[tokio::test]
    async fn answers_are_read_whole_however_they_are_cut() {
        let answers: &[&str] = &[
            "HTTP/1.1 202 Accepted\r\ncontent-le|ngth: 51\r\n\r\n|{\"order_id\":\"00010203-0405-8607-8809-0a0b0c0d0e0f\"} ",
            "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}",
            "HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n|0\r\n\r\n",
        ];
        let replies = against(answers, 3).await;
        assert_eq!(replies.iter().map(status).collect::<Vec<_>>(), [202, 200, 503]);
        assert!(matches!(&replies[0], Reply::Answered { order_id: Some(_), .. }), "{:?}", replies[0]);
        assert!(matches!(&replies[2], Reply::Answered { refusal: Some(text), .. } if text == "hello"));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_unknown_and_a_closed_port_is_not_sent() {
        let replies = against(&["HTTP/1.1 202 Acc"], 2).await;
        assert_eq!(replies, [Reply::Nothing, Reply::NotSent]);
    }
}
