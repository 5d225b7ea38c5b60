//! Direct exchanges: which queues a routing key means.

use std::collections::HashMap;

use broker::ExchangeName;

use crate::key::QueueId;

#[derive(Debug, Default)]
pub(crate) struct Router(HashMap<ExchangeName, HashMap<String, Vec<QueueId>>>);

impl Router {
    pub(crate) fn add_exchange(&mut self, exchange: ExchangeName) {
        self.0.entry(exchange).or_default();
    }

    pub(crate) fn bind(&mut self, exchange: ExchangeName, routing_key: String, queue: QueueId) {
        let queues = self.0.entry(exchange).or_default().entry(routing_key).or_default();
        if !queues.contains(&queue) {
            queues.push(queue);
        }
    }

    /// The queues bound; none where nobody listens to the key, `None` where the exchange was never declared.
    pub(crate) fn route(&self, exchange: &ExchangeName, routing_key: &str) -> Option<&[QueueId]> {
        let bindings = self.0.get(exchange)?;
        Some(bindings.get(routing_key).map_or(&[], Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_a_binding_is_not_an_exchange_that_does_not_exist() {
        let exchange = ExchangeName::new("x");
        let mut router = Router::default();
        assert_eq!(router.route(&exchange, "a"), None);
        router.add_exchange(exchange.clone());
        assert_eq!(router.route(&exchange, "a"), Some([].as_slice()));
        router.bind(exchange.clone(), "a".to_owned(), 7);
        router.bind(exchange.clone(), "a".to_owned(), 7);
        assert_eq!(router.route(&exchange, "a"), Some([7].as_slice()));
    }
}
