import type { FailureClass, ReauthorizationReason } from '../client/contract.ts';

/**
 * What error codes mean at every provider: RFC 6749 §5.2 and the RFCs that add to it (8628, 8707, 9396,
 * 9449, OpenID Connect Core §3.1.2.6), and names in wide use beside them. A definition's rules go first.
 */
const classByCode: ReadonlyMap<string, FailureClass> = new Map<string, FailureClass>([
  ['invalid_grant', 'permanent'],
  ['invalid_refresh_token', 'permanent'],
  ['bad_refresh_token', 'permanent'],
  ['expired_token', 'permanent'],
  ['token_expired', 'permanent'],
  ['refresh_token_expired', 'permanent'],
  ['token_revoked', 'permanent'],
  ['interaction_required', 'permanent'],
  ['login_required', 'permanent'],
  ['consent_required', 'permanent'],
  ['account_selection_required', 'permanent'],
  ['mfa_required', 'permanent'],
  ['invalid_client', 'misconfigured'],
  ['invalid_client_id', 'misconfigured'],
  ['invalid_client_secret', 'misconfigured'],
  ['invalid_client_credentials', 'misconfigured'],
  ['incorrect_client_credentials', 'misconfigured'],
  ['bad_client_secret', 'misconfigured'],
  ['unauthorized_client', 'misconfigured'],
  ['unsupported_grant_type', 'misconfigured'],
  ['invalid_grant_type', 'misconfigured'],
  ['invalid_scope', 'misconfigured'],
  ['invalid_target', 'misconfigured'],
  ['invalid_authorization_details', 'misconfigured'],
  ['invalid_dpop_proof', 'misconfigured'],
  ['invalid_request', 'misconfigured'],
  ['temporarily_unavailable', 'transient'],
  ['service_unavailable', 'transient'],
  ['use_dpop_nonce', 'transient'],
  ['server_error', 'ambiguous'],
  ['internal_error', 'ambiguous'],
  ['internal_server_error', 'ambiguous'],
  ['slow_down', 'rate_limited'],
  ['rate_limit_exceeded', 'rate_limited'],
  ['rate_limited', 'rate_limited'],
  ['ratelimited', 'rate_limited'],
  ['too_many_requests', 'rate_limited'],
  ['quota_exceeded', 'rate_limited'],
]);

/**
 * A refresh that lost a race against another one: fosite and Hydra answer `invalid_request` with this
 * text (handler/oauth2/flow_refresh.go), and have spent nothing for the loser.
 */
const lostRacePattern = /please retry|multiple concurrent requests|concurrent (?:request|access)/i;

/** The class of a code, with the provider's text where the code alone says two things; null: unknown. */
export function classOfOAuthError(code: string, message: string): FailureClass | null {
  if (code === 'invalid_request' && lostRacePattern.test(message)) return 'transient';
  return classByCode.get(code) ?? null;
}

/**
 * Why the customer must authorise again. Beside the code, Google's `error_subtype` and Microsoft's
 * `suberror` say more. Of the rest `revoked` is the plain word.
 */
const reasonByCode: ReadonlyMap<string, ReauthorizationReason> = new Map<
  string,
  ReauthorizationReason
>([
  // The provider wants the customer to act, rather than having ended the grant.
  ['interaction_required', 'refused'],
  ['login_required', 'refused'],
  ['consent_required', 'refused'],
  ['account_selection_required', 'refused'],
  ['mfa_required', 'refused'],
  ['invalid_rapt', 'refused'],
  ['admin_policy_enforced', 'refused'],
  ['basic_action', 'refused'],
  ['additional_action', 'refused'],
  ['message_only', 'refused'],
  ['user_password_expired', 'refused'],
  ['expired_token', 'expired'],
  ['token_expired', 'expired'],
  ['refresh_token_expired', 'expired'],
]);

/** The reason of the first of `codes` that names one. */
export function reasonOfOAuthErrors(codes: readonly (string | null)[]): ReauthorizationReason {
  return codes.map((code) => reasonByCode.get(code ?? '')).find(Boolean) ?? 'revoked';
}
