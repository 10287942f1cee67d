//! What a Miden sequencer asks of its block prover.

use prost::Message;
use tonic::{Request, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

/// `remote_prover.ProofRequest`.
#[derive(Clone, PartialEq, Message)]
struct ProofRequest {
    #[prost(int32, tag = "1")]
    proof_type: i32,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// `remote_prover.Proof`.
#[derive(Clone, PartialEq, Message)]
struct Proof {
    #[prost(bytes = "vec", tag = "1")]
    payload: Vec<u8>,
}

/// The proof of `payload` by the prover at `address`, or how that failed.
pub(crate) fn prove(address: &str, proof_type: i32, payload: &[u8]) -> Result<Vec<u8>, String> {
    let payload = payload.to_vec();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::try_from(address.to_owned()).unwrap();
        let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/remote_prover.Api/Prove");
        let codec = ProstCodec::<ProofRequest, Proof>::default();
        let request = Request::new(ProofRequest { proof_type, payload });
        let answer = grpc.unary(request, path, codec).await;
        answer
            .map(|answer| answer.into_inner().payload)
            .map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    })
}
