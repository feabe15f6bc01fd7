//! The face that Bluesky's AppView speaks to: `rolodex.RolodexService` over the Connect protocol.

pub(super) mod reason;
pub(super) mod refusal;

use std::sync::Arc;

use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_protocol::message::rolodex::{
    DismissMatchRequest, DismissMatchResponse, GetMatchesRequest, GetMatchesResponse, GetSyncStatusRequest,
    GetSyncStatusResponse, ImportContactsMatch, ImportContactsRequest, ImportContactsResponse, PingRequest,
    PingResponse, RemoveDataRequest, RemoveDataResponse, StartPhoneVerificationRequest,
    StartPhoneVerificationResponse, SyncStatus, VerifyPhoneRequest, VerifyPhoneResponse,
};
use acquaint_service::Discovery;
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult};

use crate::rpc::RolodexService;
use reason::{Failed, Reason};

/// The service behind the RPC.
pub(super) struct Rolodex {
    pub(super) discovery: Arc<Discovery>,
    pub(super) account_format: AccountFormat,
}

impl Rolodex {
    fn account(&self, field: &str, text: &str) -> Result<AccountId, ConnectError> {
        AccountId::parse(text, self.account_format)
            .map_err(|error| Reason::InvalidDid.error(format!("{field}: {error}")))
    }

    fn failed<E>(&self, error: E) -> ConnectError
    where
        ConnectError: From<Failed<E>>,
    {
        Failed(error, self.discovery.now()).into()
    }
}

/// Counts go over the wire as int32.
fn int32(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[expect(refining_impl_trait, reason = "the concrete types say what each method answers")]
impl RolodexService for Rolodex {
    async fn ping(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, PingRequest>,
    ) -> ServiceResult<PingResponse> {
        Response::ok(PingResponse::default())
    }

    async fn get_sync_status(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, GetSyncStatusRequest>,
    ) -> ServiceResult<GetSyncStatusResponse> {
        let actor = self.account("actor", request.actor)?;
        let status = self.discovery.sync_status(&actor).await.map_err(|error| self.failed(error))?;
        let status = status.map(|status| SyncStatus {
            synced_at: Some(timestamp(status.synced_at)).into(),
            matches_count: int32(status.matches),
        });
        Response::ok(GetSyncStatusResponse { status: status.into() })
    }

    async fn start_phone_verification(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, StartPhoneVerificationRequest>,
    ) -> ServiceResult<StartPhoneVerificationResponse> {
        let actor = self.account("actor", request.actor)?;
        let started = self.discovery.start_verification(&actor, request.phone).await;
        started.map_err(|error| self.failed(error))?;
        Response::ok(StartPhoneVerificationResponse::default())
    }

    async fn verify_phone(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, VerifyPhoneRequest>,
    ) -> ServiceResult<VerifyPhoneResponse> {
        let actor = self.account("actor", request.actor)?;
        let verified = self.discovery.verify(&actor, request.phone, request.verification_code).await;
        let token = verified.map_err(|error| self.failed(error))?;
        Response::ok(VerifyPhoneResponse { token })
    }

    async fn import_contacts(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ImportContactsRequest>,
    ) -> ServiceResult<ImportContactsResponse> {
        let actor = self.account("actor", request.actor)?;
        let contacts = request.contacts.iter().map(|contact| (*contact).to_owned()).collect();
        let imported = self.discovery.import(&actor, request.token, contacts).await;
        let matches =
            imported.map_err(|error| self.failed(error))?.into_iter().map(|found| ImportContactsMatch {
                input_index: i32::from(found.input_index),
                subject: found.subject.as_str().to_owned(),
            });
        Response::ok(ImportContactsResponse { matches: matches.collect() })
    }

    async fn get_matches(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, GetMatchesRequest>,
    ) -> ServiceResult<GetMatchesResponse> {
        let actor = self.account("actor", request.actor)?;
        let page = self.discovery.matches(&actor, request.limit, request.cursor).await;
        let page = page.map_err(|error| self.failed(error))?;
        Response::ok(GetMatchesResponse {
            subjects: page.subjects.iter().map(|subject| subject.as_str().to_owned()).collect(),
            cursor: page.cursor.unwrap_or_default(),
        })
    }

    async fn dismiss_match(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, DismissMatchRequest>,
    ) -> ServiceResult<DismissMatchResponse> {
        let actor = self.account("actor", request.actor)?;
        let subject = self.account("subject", request.subject)?;
        let left = self.discovery.dismiss(&actor, &subject).await.map_err(|error| self.failed(error))?;
        Response::ok(DismissMatchResponse { matches_count: int32(left) })
    }

    async fn remove_data(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, RemoveDataRequest>,
    ) -> ServiceResult<RemoveDataResponse> {
        let actor = self.account("actor", request.actor)?;
        let removed = self.discovery.remove_data(&actor).await.map_err(|error| self.failed(error))?;
        Response::ok(RemoveDataResponse {
            contacts_count: int32(removed.contacts),
            matches_count: int32(removed.matches),
        })
    }
}

pub(super) fn timestamp(millis: acquaint_service::Millis) -> buffa_types::google::protobuf::Timestamp {
    let nanos = i32::try_from(millis.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    buffa_types::google::protobuf::Timestamp::from_unix(millis.div_euclid(1000), nanos)
}
