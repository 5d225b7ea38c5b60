//! Handing messages to consumers: read and marked within the turn's transaction, sent once it is committed. So what a
//! consumer saw before a kill comes back as redelivered.

use broker::Delivery;
use model::Message;

use crate::command::{ConsumerId, Settling, Ticket};
use crate::key::{Key, QueueId};
use crate::queue::Queue;
use crate::record;
use crate::store::{Row, Store};
use crate::turn::Turn;
use crate::writer::Writer;

/// How much one turn hands out, so that publishers wait little: messages, and bytes of their bodies.
const MESSAGES_AT_ONCE: usize = 1_024;
const BYTES_AT_ONCE: usize = 8 << 20;

/// A message on its way to a consumer.
pub(crate) struct Pick {
    key: Key,
    consumer: ConsumerId,
    /// How often it was handed out before.
    handed_out: u32,
    /// None where the row can't be read: it stays in the file for a person to look at.
    message: Option<Message>,
}

/// What is left of the turn's share.
struct Budget {
    messages: usize,
    bytes: usize,
}

impl Turn {
    pub(crate) fn hand_out(&mut self, writer: &mut Writer) -> rusqlite::Result<()> {
        let mut budget = Budget { messages: MESSAGES_AT_ONCE, bytes: BYTES_AT_ONCE };
        let ids: Vec<QueueId> = writer.queues.keys().copied().collect();
        for id in ids {
            self.hand_out_queue(writer, id, &mut budget)?;
        }
        Ok(())
    }

    fn hand_out_queue(&mut self, writer: &mut Writer, id: QueueId, budget: &mut Budget) -> rusqlite::Result<()> {
        let Writer { queues, store, .. } = writer;
        let Some(queue) = queues.get_mut(&id) else { return Ok(()) };
        let arrived = self.arrived.get(&id).map_or(0, |arrived| arrived.count);
        let waiting = usize::try_from(queue.ready + arrived).unwrap_or(usize::MAX);
        if waiting == 0 || budget.bytes == 0 {
            return Ok(());
        }
        queue.forget_dropped_consumers();
        let mut takers = queue.spend_credit(waiting.min(budget.messages)).into_iter();
        let before = self.picks.len();
        let taken = self
            .take_returned(queue, store, &mut takers, budget)
            .and_then(|()| self.take_fresh(queue, store, &mut takers, budget))
            .and_then(|()| if self.picks.len() > before { mark(queue, store) } else { Ok(()) });
        for unused in takers {
            queue.give_credit(unused);
        }
        budget.messages -= self.picks.len() - before;
        taken
    }

    /// What came back is before everything that was never handed out.
    fn take_returned(
        &mut self,
        queue: &mut Queue,
        store: &Store,
        takers: &mut std::vec::IntoIter<ConsumerId>,
        budget: &mut Budget,
    ) -> rusqlite::Result<()> {
        while takers.len() > 0
            && budget.bytes > 0
            && let Some((key, handed_out)) = queue.returned.pop_first()
        {
            let consumer = takers.next().unwrap_or_default();
            // Noted before it is read, so that undoing knows of it.
            self.picks.push(Pick { key, consumer, handed_out, message: None });
            let mut rows = store.read(key, Key(key.0 + 1), 1, usize::MAX)?;
            if let (Some(row), Some(pick)) = (rows.pop(), self.picks.last_mut()) {
                budget.bytes = budget.bytes.saturating_sub(row.body.len());
                pick.message = message_of(row);
            }
        }
        Ok(())
    }

    fn take_fresh(
        &mut self,
        queue: &mut Queue,
        store: &Store,
        takers: &mut std::vec::IntoIter<ConsumerId>,
        budget: &mut Budget,
    ) -> rusqlite::Result<()> {
        if takers.len() == 0 || budget.bytes == 0 {
            return Ok(());
        }
        let end = Key::new(queue.id, queue.next);
        let rows = store.read(Key::new(queue.id, queue.cursor), end, takers.len(), budget.bytes)?;
        let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
        budget.bytes = budget.bytes.saturating_sub(bytes);
        if rows.len() < takers.len() && budget.bytes > 0 {
            self.exhausted.push(queue.id);
        }
        for (row, consumer) in rows.into_iter().zip(takers) {
            queue.cursor = row.key.place() + 1;
            self.picks.push(Pick { key: row.key, consumer, handed_out: row.deliveries, message: message_of(row) });
        }
        Ok(())
    }

    /// The hand-outs are durable: sends them.
    pub(crate) fn deliver(self, writer: &mut Writer) {
        for pick in self.picks {
            let Some(queue) = writer.queues.get_mut(&pick.key.queue()) else { continue };
            queue.ready = queue.ready.saturating_sub(1);
            let Some(message) = pick.message else {
                tracing::error!(queue = %queue.name, row = pick.key.0, "a message in the embedded broker's file can't be read; it stays there");
                queue.give_credit(pick.consumer);
                continue;
            };
            queue.held.insert(pick.key, pick.handed_out.saturating_add(1));
            let settling = Settling {
                ticket: Ticket { key: pick.key, consumer: pick.consumer },
                queue: queue.name.clone(),
                writer: writer.to_self.clone(),
            };
            let delivery = Delivery::new(message, pick.handed_out > 0, pick.handed_out, Box::new(settling));
            if let Some(consumer) = queue.consumer(pick.consumer) {
                // There is room for its whole prefetch. Where the subscription was dropped meanwhile, the delivery is
                // dropped too and so comes back to us as released.
                drop(consumer.deliveries.try_send(delivery));
            }
        }
        for id in self.exhausted {
            if let Some(queue) = writer.queues.get_mut(&id)
                && queue.returned.is_empty()
                && queue.ready > 0
                && queue.cursor == queue.next
            {
                tracing::error!(queue = %queue.name, missing = queue.ready, "messages were counted that the embedded broker's file does not have");
                queue.ready = 0;
            }
        }
        for queue in writer.queues.values_mut() {
            queue.forget_dropped_consumers();
        }
        writer.more = writer.queues.values().any(|queue| queue.ready > 0 && queue.has_credit());
    }

    /// The transaction did not take place: what was there before it is ready again.
    pub(crate) fn take_back(self, writer: &mut Writer) {
        for pick in self.picks {
            let Some(queue) = writer.queues.get_mut(&pick.key.queue()) else { continue };
            queue.give_credit(pick.consumer);
            // The mark was rolled back with the rest.
            queue.marked = 0;
            let first_new = self.arrived.get(&queue.id).map_or(queue.next, |arrived| arrived.first);
            if pick.key.place() < first_new {
                queue.returned.insert(pick.key, pick.handed_out);
            }
        }
    }
}

/// Everything before the cursor may have been seen from now on.
fn mark(queue: &mut Queue, store: &Store) -> rusqlite::Result<()> {
    if queue.cursor > queue.marked {
        store.mark_handed_to(queue.id, queue.cursor - 1)?;
        queue.marked = queue.cursor;
    }
    Ok(())
}

fn message_of(row: Row) -> Option<Message> {
    record::decode(&row.properties, row.body).ok()
}
