//! Orders that the harness posted by hand: each that was answered 202 has come to its end, or is visibly parked.

use std::collections::HashMap;

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use uuid::Uuid;

use super::parked::Parked;
use super::read::{is_end, states};
use super::{Posted, Site};

/// Reads their states and judges them.
pub(super) async fn judge(site: &Site<'_>, parked: &Parked) -> Result<Breaches> {
    let posted = &site.evidence.posted;
    let ids: Vec<Uuid> = posted.iter().filter_map(|posted| posted.accepted).collect();
    Ok(compare(posted, parked, &states(&site.databases, &ids).await?))
}

fn compare(posted: &[Posted], parked: &Parked, states: &HashMap<Uuid, String>) -> Breaches {
    let mut breaches = Breaches::default();
    for Posted { key, accepted } in posted {
        let Some(id) = accepted else { continue };
        let state = states.get(id).map(String::as_str);
        let ended = is_end(states.get(id));
        if !ended && !parked.holds(*id) {
            let subject = format!("order {id} under the key {key}");
            breaches.add(Guarantee::Kept, subject, "an end, as it was answered 202", state.unwrap_or("no row"));
        } else if ended && parked.holds(*id) {
            let subject = format!("order {id} under the key {key}");
            breaches.add(Guarantee::Kept, subject, "one end", format!("{}, and parked", state.unwrap_or_default()));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(state: Option<&str>, is_parked: bool) -> bool {
        let id = Uuid::from_u128(7);
        let posted = [Posted { key: "k".to_owned(), accepted: Some(id) }];
        let mut parked = Parked::default();
        if is_parked {
            parked.add("q", "m", format!(r#"{{"data": {{"order_id": "{id}"}}}}"#).as_bytes());
        }
        let states = state.map(|state| (id, state.to_owned())).into_iter().collect();
        let breaches = compare(&posted, &parked, &states);
        assert_eq!(breaches.of(Guarantee::Kept), u64::from(!breaches.is_empty()));
        breaches.is_empty()
    }

    #[test]
    fn an_accepted_order_has_exactly_one_end() {
        for ended in ["confirmed", "rejected", "released"] {
            assert!(kept(Some(ended), false) && !kept(Some(ended), true), "{ended}");
        }
        assert!(kept(None, true));
        assert!(!kept(None, false) && !kept(Some("placed"), false));
    }
}
