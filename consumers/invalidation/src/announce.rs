//! Telling every process which tags were purged, and hearing it. Transient and lossy, and no bound of freshness rests on
//! it: a process that missed it finds out by the generations, `cache.pages.trust_ms` later.

use std::sync::Arc;

use broker::announce::{MAX_ANNOUNCEMENT, PURGES};
use broker::{Broker, Listener};
use cache::Tag;
use events::{Envelope, TagsPurged};
use model::Clock;

/// Who announces, in the envelope.
const SOURCE: &str = "invalidation";

/// What an envelope takes beside its tags, bytes: more than it does.
const ENVELOPE: usize = 512;

/// What a tag takes beside its text in JSON: quotes and a comma. Tags hold nothing that JSON escapes, but for what an old
/// collection's name may hold; then the announcement may be too long, and is dropped.
const AROUND_TAG: usize = 3;

/// Tells of purged tags, in as many announcements as it takes.
pub(crate) struct Announcer {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
}

impl Announcer {
    pub(crate) fn new(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>) -> Self {
        Self { broker, clock }
    }

    pub(crate) fn announce(&self, tags: &[Tag]) {
        for tags in notes(tags) {
            let message = Envelope::new(&*self.clock, SOURCE, TagsPurged { tags }).to_message();
            self.broker.announce(PURGES, message.body);
        }
    }
}

/// The tags, in pieces that fit into an announcement each.
fn notes(tags: &[Tag]) -> Vec<Vec<String>> {
    let mut notes: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for tag in tags {
        let needed = tag.as_str().len() + AROUND_TAG;
        if needed > room || notes.is_empty() {
            notes.push(Vec::new());
            room = MAX_ANNOUNCEMENT - ENVELOPE;
        }
        room = room.saturating_sub(needed);
        if let Some(note) = notes.last_mut() {
            note.push(tag.to_string());
        }
    }
    notes
}

/// The next purge that is heard of; none once the broker was closed. What is no announcement of purges, or of a version that
/// this build does not know, is passed over: what it says is found out without it.
pub(crate) async fn heard(listener: &mut Listener) -> Option<Vec<Tag>> {
    loop {
        let body = listener.next().await?;
        match Envelope::<TagsPurged>::from_body(&body) {
            Ok(envelope) => return Some(envelope.data.tags.into_iter().map(Tag::from).collect()),
            Err(error) => tracing::debug!(%error, "an announcement of purges can't be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_tags_is_told_in_announcements_that_are_not_too_long() {
        let tags: Vec<Tag> = (0..5_000).map(|n| Tag::from(format!("product:eu:{}-{n}", "X".repeat(50)))).collect();
        let notes = notes(&tags);
        assert!(notes.len() > 10);
        let told: Vec<Tag> = notes.iter().flatten().cloned().map(Tag::from).collect();
        assert_eq!(told, tags);
        for tags in notes {
            let data = TagsPurged { tags };
            let body = Envelope::new(&model::SystemClock, SOURCE, data).to_message().body;
            assert!(body.len() <= MAX_ANNOUNCEMENT, "{} bytes", body.len());
        }
        assert!(super::notes(&[]).is_empty());
    }
}
