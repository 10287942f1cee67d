//! What a day of such a chain costs.

use super::{assert_is_chain, caught_up, finalized_above, settings, with_chain};
use std::{fs, time::Duration};
use tidewatch_tests::{EthereumNode, consensus::EPOCH};

/// Slots of a day of Ethereum's, of twelve seconds each. Here they are shorter, and in more and shorter epochs.
const DAY: u32 = 7_200;

/// Slots that are measured.
const MEASURED: u64 = 12 * EPOCH;

/// The processor time of this process so far.
fn ours() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    let units: u32 = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    Some(Duration::from_secs(units.into()) / 100)
}

/// Alone in its process: what others cost would be measured too.
#[test]
#[ignore = "takes five minutes; a figure"]
fn a_day_of_short_slots_costs_less_than_an_hour_of_processor_time() {
    with_chain(async |context, chain| {
        let node = EthereumNode::start(&context, &settings(&chain, &chain).unpolled()).await;
        finalized_above(&node, &chain, 0).await;
        let times = || Some((chain.processor_times()?, ours()?));
        let Some((started, us)) = times() else {
            println!("this system does not say what a process costs");
            return;
        };
        let from = caught_up(&node, &chain).await.delivered().expect("blocks").get();
        let mut height = from;
        while height < from + MEASURED {
            height = (height + 8).min(from + MEASURED);
            chain.until_height(height).await;
        }
        caught_up(&node, &chain).await;
        let (ended, us_now) = times().expect("it was said before");
        let slots = f64::from(u32::try_from(height - from).expect("few blocks"));
        let per_slot = |before: Duration, after: Duration| (after - before).as_secs_f64() / slots;
        let names = ["execution client", "consensus client", "validators"];
        let mut sum = per_slot(us, us_now);
        println!("processor time of a slot, over {slots} slots, and of a day of {DAY} slots:");
        println!(
            "{:>18} {:7.1} ms {:6.1} min",
            "Tidewatch",
            sum * 1e3,
            sum * f64::from(DAY) / 60.0
        );
        for (name, (before, after)) in names.iter().zip(started.into_iter().zip(ended)) {
            let slot = per_slot(before, after);
            println!("{name:>18} {:7.1} ms {:6.1} min", slot * 1e3, slot * f64::from(DAY) / 60.0);
            sum += slot;
        }
        let start: Duration = started.into_iter().sum();
        let day = Duration::from_secs_f64(sum * f64::from(DAY)) + start;
        println!(
            "{:>18} {:7.1} ms {:6.1} min, {start:.1?} of it for the start",
            "all",
            sum * 1e3,
            day.as_secs_f64() / 60.0
        );
        assert!(day < Duration::from_secs(3_600), "{day:?}");
        assert_is_chain(node, &chain).await;
    });
}
