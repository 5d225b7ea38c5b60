//! Who may use how much of a database's budget, without a master: whoever renews its lease reads what the others hold
//! and takes at most what is left.
//!
//! [`fair`] says what each should have, from everybody's demand; [`grant`] what one may take now. A share above the fair
//! one is lowered at its holder's next renewal, one below it grows as others are lowered: after two rounds of renewals
//! everybody has the fair share, and at no moment do the shares add up to more than the whole. A newcomer therefore
//! waits until the others have renewed, or until a lease that nobody renews has run out.

/// The whole budget, in the parts that shares are counted in. Whole numbers, so that sums are exact.
pub const WHOLE: u32 = 1_000_000;

/// What everybody is taken to want at least: enough to begin with when messages come. One part in a hundred.
const LEAST: u32 = WHOLE / 100;

/// Whose work goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Orders: customers wait for them.
    Checkout,
    /// Counting, which can wait: it has what checkout leaves, and a small part in any case.
    Analytics,
}

/// What one worker asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Whose work it does.
    pub rank: Rank,
    /// Parts of the whole that it could use; [`WHOLE`] where it could use all it gets.
    pub demand: u32,
}

impl Rank {
    /// Every rank, the first first.
    pub const ALL: [Self; 2] = [Self::Checkout, Self::Analytics];

    /// Its name, in lease rows and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Analytics => "analytics",
        }
    }

    /// The rank with this name. One that this release does not know goes last.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|rank| rank.name() == name).unwrap_or(Self::Analytics)
    }
}

impl Claim {
    fn wanted(self) -> u32 {
        self.demand.clamp(LEAST, WHOLE)
    }
}

/// The fair share of each claim, in the order given: equal within a rank but that nobody gets more than it wants and
/// the others share what that leaves ("max-min fair"); checkout before analytics, for which `kept` parts are kept where it
/// wants them. What nobody wants is divided too, so that whoever becomes busy first need not wait: among checkout's
/// workers, or where there are none among all.
///
/// They never add up to more than [`WHOLE`].
pub fn fair(claims: &[Claim], kept: u32) -> Vec<u32> {
    let of = |rank| (0..claims.len()).filter(move |place| claims[*place].rank == rank).collect::<Vec<_>>();
    let (first, last) = (of(Rank::Checkout), of(Rank::Analytics));
    let wanted = |places: &[usize]| places.iter().map(|place| u64::from(claims[*place].wanted())).sum::<u64>();
    let kept = u32::try_from(wanted(&last)).unwrap_or(WHOLE).min(kept).min(WHOLE);
    let mut shares = vec![0; claims.len()];
    let mut left = WHOLE;
    left -= divide(claims, &first, if first.is_empty() { 0 } else { WHOLE - kept }, &mut shares);
    left -= divide(claims, &last, left, &mut shares);
    let idle = if first.is_empty() { &last } else { &first };
    if let Some(each) = left.checked_div(u32::try_from(idle.len()).unwrap_or(u32::MAX)) {
        for place in idle {
            shares[*place] += each;
        }
    }
    shares
}

/// Divides `room` among `places` and says how much of it that took.
fn divide(claims: &[Claim], places: &[usize], room: u32, shares: &mut [u32]) -> u32 {
    let mut by_want = places.to_vec();
    by_want.sort_by_key(|place| claims[*place].wanted());
    let mut left = room;
    for (done, place) in by_want.iter().enumerate() {
        let equal = left / u32::try_from(by_want.len() - done).unwrap_or(u32::MAX);
        shares[*place] = claims[*place].wanted().min(equal);
        left -= shares[*place];
    }
    room - left
}

/// What a worker with the fair share `fair` may take while the others hold `held` in all.
pub fn grant(fair: u32, held: u64) -> u32 {
    fair.min(u32::try_from(u64::from(WHOLE).saturating_sub(held)).unwrap_or(0))
}

/// Parts of the whole as a fraction of one.
pub fn fraction(parts: u32) -> f64 {
    f64::from(parts) / f64::from(WHOLE)
}

/// A fraction of one as parts of the whole, 0 to [`WHOLE`].
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to a million")]
pub fn parts(fraction: f64) -> u32 {
    (fraction.clamp(0.0, 1.0) * f64::from(WHOLE)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tenth.
    const KEPT: u32 = WHOLE / 10;

    fn claim(rank: Rank, demand: u32) -> Claim {
        Claim { rank, demand }
    }

    fn claims(most: usize) -> impl Strategy<Value = Vec<Claim>> {
        let rank = prop_oneof![Just(Rank::Checkout), Just(Rank::Analytics)];
        let demand = prop_oneof![Just(WHOLE), Just(0), 0..=WHOLE];
        prop::collection::vec((rank, demand).prop_map(|(rank, demand)| claim(rank, demand)), 1..most)
    }

    fn sum(shares: &[u32]) -> u64 {
        shares.iter().copied().map(u64::from).sum()
    }

    #[test]
    fn the_hungry_share_alike_and_take_what_the_others_leave() {
        use Rank::{Analytics, Checkout};
        let busy = claim(Checkout, WHOLE);
        assert_eq!(fair(&[busy; 4], KEPT), [WHOLE / 4; 4]);
        let one_is_slow = [busy, claim(Checkout, 100_000), busy];
        assert_eq!(fair(&one_is_slow, KEPT), [450_000, 100_000, 450_000]);
        // Analytics has a tenth while checkout could use everything, and the rest when it could not.
        assert_eq!(fair(&[busy, claim(Analytics, WHOLE)], KEPT), [900_000, 100_000]);
        assert_eq!(fair(&[claim(Checkout, 200_000), claim(Analytics, WHOLE)], KEPT), [200_000, 800_000]);
        // Nobody wants anything: whoever is first begins with plenty.
        assert_eq!(fair(&[claim(Checkout, 0), claim(Analytics, 0)], KEPT), [990_000, 10_000]);
        assert_eq!(fair(&[claim(Analytics, 0)], KEPT), [WHOLE]);
    }

    #[test]
    fn a_class_is_known_by_its_name_and_an_unknown_one_goes_last() {
        for rank in Rank::ALL {
            assert_eq!(Rank::named(rank.name()), rank);
        }
        assert_eq!(Rank::named("payments"), Rank::Analytics);
        assert!(Rank::Checkout < Rank::Analytics);
    }

    proptest! {
        #[test]
        fn fair_shares_never_exceed_the_whole_and_leave_next_to_nothing(claims in claims(60), kept in 0..=WHOLE) {
            let shares = fair(&claims, kept);
            prop_assert!(sum(&shares) <= u64::from(WHOLE));
            prop_assert!(sum(&shares) + 2 * claims.len() as u64 > u64::from(WHOLE), "what is lost is rounding");
        }

        #[test]
        fn nobody_starves(claims in claims(60)) {
            let shares = fair(&claims, KEPT);
            // A tenth of the whole, for sixty of them, is more than a thousandth each.
            prop_assert!(shares.iter().all(|share| *share > WHOLE / 1_000), "{shares:?}");
        }

        #[test]
        fn checkout_loses_no_more_to_analytics_than_what_is_kept(claims in claims(60)) {
            let shares = fair(&claims, KEPT);
            let of = |rank| {
                let places = claims.iter().zip(&shares).filter(move |(claim, _)| claim.rank == rank);
                places.map(|(_, share)| u64::from(*share)).sum::<u64>()
            };
            if claims.iter().any(|claim| claim.rank == Rank::Checkout && claim.demand == WHOLE) {
                let rounding = 2 * claims.len() as u64;
                prop_assert!(of(Rank::Checkout) + u64::from(KEPT) + rounding >= u64::from(WHOLE));
            }
        }

        #[test]
        fn equal_claims_get_equal_shares_and_a_greater_demand_no_smaller_one(claims in claims(30), more in 0..=WHOLE) {
            let shares = fair(&claims, KEPT);
            for (one, mine) in claims.iter().zip(&shares) {
                for (other, its) in claims.iter().zip(&shares) {
                    if one.rank == other.rank && one.wanted() <= other.wanted() {
                        prop_assert!(*mine <= its + 1 + u32::try_from(claims.len()).unwrap());
                    }
                }
            }
            let mut greedier = claims.clone();
            greedier[0].demand = greedier[0].demand.max(more);
            // Rounding apart; and but for what nobody wanted, of which more demand can leave less to divide.
            let after = fair(&greedier, KEPT)[0];
            prop_assert!(u64::from(after) + 100 >= u64::from(shares[0].min(claims[0].wanted())));
        }

        /// Whoever renews in whatever order, joins and disappears: what is held never exceeds the whole; and once
        /// demands rest, two rounds give everybody the fair share.
        #[test]
        fn shares_taken_one_at_a_time_never_exceed_the_whole_and_settle_in_two_rounds(
            start in claims(12), steps in prop::collection::vec((0_usize..12, 0..=WHOLE, 0_u8..10), 0..80),
        ) {
            let mut claims = start;
            let mut held: Vec<u32> = vec![0; claims.len()];
            let renew = |claims: &[Claim], held: &mut Vec<u32>, place: usize| {
                let others = sum(held) - u64::from(held[place]);
                held[place] = grant(fair(claims, KEPT)[place], others);
            };
            for (place, demand, kind) in steps {
                let place = place % claims.len();
                match kind {
                    0 if claims.len() > 1 => {
                        claims.remove(place);
                        held.remove(place);
                    }
                    1 => {
                        claims.push(claim(claims[place].rank, demand));
                        held.push(0);
                    }
                    _ => {
                        claims[place].demand = demand;
                        renew(&claims, &mut held, place);
                    }
                }
                prop_assert!(sum(&held) <= u64::from(WHOLE), "{held:?}");
            }
            for _ in 0..2 {
                for place in 0..claims.len() {
                    renew(&claims, &mut held, place);
                    prop_assert!(sum(&held) <= u64::from(WHOLE), "{held:?}");
                }
            }
            prop_assert_eq!(held, fair(&claims, KEPT));
        }
    }
}
