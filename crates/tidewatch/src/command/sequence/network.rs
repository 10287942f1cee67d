//! `tidewatch sequence network`: the key holders by themselves.

use super::{args::Network as Options, run::config};
use crate::{
    Outcome,
    command::{Problem, data_dir::DataDir, logs, metrics, signals::Stop},
    output::Printer,
};
use commonware_codec::Encode as _;
use commonware_formatting::hex;
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio::Context};
use std::time::Duration;
use tidewatch_devnet::{Error, ordering::Network};

/// How long the last line may take.
const GRACE: Duration = Duration::from_millis(500);

/// Orders until it is stopped.
pub(super) fn run(options: &Options) -> Outcome<()> {
    logs::start();
    let data = DataDir::open(&options.data_dir)?;
    let printer = Printer::stdout()?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let context = metrics::named(&context);
        let outcome = order(&context, options, &data, &printer).await;
        drop(data);
        crate::leave(outcome)
    })
}

/// Why a network did not start.
pub(super) fn failed(error: &Error) -> Problem {
    let problem = Problem::failure(format!("the network of key holders did not start: {error}"));
    match error {
        Error::Bind { .. } => problem.hint("name a free port with --port"),
        _ => problem,
    }
}

async fn order(
    context: &Context,
    options: &Options,
    data: &DataDir,
    printer: &Printer,
) -> Outcome<()> {
    let mut stop = Stop::new()?;
    if let Some(address) = options.metrics {
        let address = metrics::serve(context, address).await?;
        printer.hint(format!("metrics at http://{address}/metrics\n"));
    }
    let network = select! {
        () = stop.asked() => return Ok(()),
        started = Network::start(context.child("network"), config(options.port, data)) => {
            started.map_err(|error| failed(&error))?
        },
    };
    let keys = network.keys();
    printer.hint(format!(
        "ordering at {}; its chain is alto+{}?mode=vrf\n",
        network.url(),
        network.devnet().url()
    ));
    printer.hint(format!("identity {}\n", hex(&keys.identity.encode())));
    for holder in &keys.holders {
        printer.hint(format!("holder {}\n", hex(&holder.encode())));
    }
    let outcome = select! {
        () = stop.asked() => Ok(()),
        reason = network.ended() => Err(Problem::failure(format!("the network ended: {reason}"))),
    };
    network.stop().await;
    select! {
        _ = printer.print("stopped\n".into()) => {},
        () = context.sleep(GRACE) => {},
    }
    outcome
}
