//! Recognises a COMMIT in what a client sends to PostgreSQL (the frontend messages of protocol 3.0).
//!
//! sqlx sends it as a simple query. What comes before is a start-up message without a type byte, after any number of
//! requests for encryption, which the private servers decline.

/// A request for TLS or GSSAPI encryption, in the place of a protocol version.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];
/// A simple query.
const QUERY: u8 = b'Q';
/// Enough of a message to know it: type, length, and `COMMIT` with what may follow it.
const KEPT: usize = 5 + 16;

/// The messages of one connection, in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct Commits {
    started: bool,
    /// The beginning of the message that is being read.
    head: Vec<u8>,
    /// Bytes of it so far.
    read: usize,
}

impl Commits {
    /// Takes the next bytes; whether a COMMIT is complete with them.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        // All of them are taken, whatever is among them.
        bytes.iter().filter(|byte| self.take(**byte)).count() > 0
    }

    fn take(&mut self, byte: u8) -> bool {
        if self.head.len() < KEPT {
            self.head.push(byte);
        }
        self.read += 1;
        if self.length().is_none_or(|length| self.read < length) {
            return false;
        }
        let commits = self.started && is_commit(&self.head);
        // A request for encryption is followed by another start.
        self.started = self.started || number(&self.head, 4).is_some_and(|code| !ENCRYPTION_REQUESTS.contains(&code));
        self.head.clear();
        self.read = 0;
        commits
    }

    /// Of the whole message, with its type byte; once it is known.
    fn length(&self) -> Option<usize> {
        let before = usize::from(self.started);
        number(&self.head, before).and_then(|length| usize::try_from(length).ok()).map(|length| length + before)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn is_commit(message: &[u8]) -> bool {
    let Some((&QUERY, rest)) = message.split_first() else { return false };
    let text = rest.get(4..).unwrap_or_default();
    let text: Vec<u8> = text.iter().copied().take_while(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&text);
    text.trim_end_matches(';').trim().eq_ignore_ascii_case("commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn started() -> Commits {
        let mut commits = Commits::default();
        // SSLRequest, then the start with version 3.0.
        assert!(!commits.feed(&[0, 0, 0, 8, 4, 210, 22, 47]));
        assert!(!commits.feed(&[0, 0, 0, 9, 0, 3, 0, 0, 0]));
        commits
    }

    #[test]
    fn a_commit_is_seen_in_any_pieces_and_among_others() {
        let insert = message(QUERY, b"INSERT INTO commits VALUES ('COMMIT')\0");
        let all = [insert, message(b'B', &[b'C'; 900]), message(QUERY, b"COMMIT\0")].concat();
        for size in [1, 3, 7, 1_000] {
            let mut commits = started();
            let seen: Vec<bool> = all.chunks(size).map(|piece| commits.feed(piece)).collect();
            assert!(seen.last() == Some(&true), "in pieces of {size}");
            assert_eq!(seen.iter().filter(|seen| **seen).count(), 1);
        }
    }

    #[test]
    fn what_only_looks_like_a_commit_is_none() {
        let mut commits = started();
        for other in [message(b'P', b"COMMIT\0"), message(QUERY, b"COMMIT AND CHAIN\0"), message(QUERY, b"ROLLBACK\0")]
        {
            assert!(!commits.feed(&other));
        }
        assert!(commits.feed(&message(QUERY, b"commit;\0")));
    }
}
