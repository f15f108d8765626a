import type { ProblemCode } from '../client/contract.ts';

interface ProblemExplanation {
  /** When it is answered. */
  meaning: string;
  /** What whoever met it should do. */
  whatToDo: string;
}

/** What `/problems/{code}` tells people beside the sentence of the code in client/contract.ts. */
export const problemExplanations: Record<ProblemCode, ProblemExplanation> = {
  input_validation: {
    meaning:
      'The path, a query parameter or the body is not what the route takes. `errors` lists every fault: a `parameter` by name, or a JSON `pointer` into the body.',
    whatToDo:
      'Correct what `errors` names and send the request again; the same request will be refused again.',
  },
  unauthenticated: {
    meaning:
      'The request shows no caller that the service knows: no bearer key, a wrong one, or one where only client certificates count.',
    whatToDo:
      'Send `Authorization: Bearer <key>` with a key made by `token-manager callers add`; with mutual TLS, a client certificate that the policy names.',
  },
  forbidden: {
    meaning: 'The caller is known, and the policy does not give it the scope that this takes.',
    whatToDo: 'Ask the operators for the scope, or use a caller that has it.',
  },
  connection_not_found: {
    meaning:
      'There is no connection of this id, it was deleted, or the caller may not see it; the answer is the same.',
    whatToDo:
      'Check the id, and whether the caller may see its tenant. If the connection was deleted, import it again.',
  },
  app_not_found: {
    meaning: 'There is no app of this id, or the tenant may not use it.',
    whatToDo: 'Check the id, or register the app with PUT /v1/apps/{app_id} first.',
  },
  provider_not_found: {
    meaning: 'The catalogue has no provider of this name.',
    whatToDo:
      'GET /v1/providers lists the names. For a provider that is not there use `generic` with `overrides`, or add it to PROVIDERS_FILE.',
  },
  not_found: {
    meaning: 'No route has this path. Paths have no trailing slash.',
    whatToDo: 'Compare the path with /openapi.json or /docs.',
  },
  method_not_allowed: {
    meaning: 'The path exists and does not take this method; `Allow` names those it takes.',
    whatToDo: 'Use one of the methods of the Allow header.',
  },
  request_timeout: {
    meaning: 'The headers or the body did not arrive in time, or the connection broke meanwhile.',
    whatToDo: 'Send the request again; where it happens often, look at the network in between.',
  },
  unsupported_media_type: {
    meaning: 'The body is not declared as `application/json`, or as JSON in another charset.',
    whatToDo: 'Send JSON in UTF-8 with `Content-Type: application/json`.',
  },
  connection_id_taken: {
    meaning: 'A connection of this id belongs to another tenant or app; these never change.',
    whatToDo: 'Choose another id. Ids are unique across tenants.',
  },
  credential_in_use: {
    meaning:
      'Another live connection of the app holds this refresh token. Refreshed from two places, it would be lost to one of them.',
    whatToDo:
      'Use the connection that holds it, delete that one first, or authorise again for a refresh token of its own.',
  },
  app_in_use: {
    meaning: 'Connections still use the app.',
    whatToDo:
      'Delete them first; GET /v1/connections?app_id= lists them. Those being revoked count until they are done.',
  },
  connection_revoking: {
    meaning: 'The connection was deleted, and its grant is being revoked at the provider.',
    whatToDo: 'Wait until the revocation is done and send the request again.',
  },
  refresh_not_possible: {
    meaning:
      'The connection has no refresh token, so a newer token than the one it holds cannot be had; that one is still valid.',
    whatToDo:
      'Read the token without force or a rejected version. To get a newer one, import the connection with new tokens.',
  },
  request_too_large: {
    meaning: 'The body is larger than 1 MiB.',
    whatToDo: 'Send less: metadata belongs in a store of your own.',
  },
  headers_too_large: {
    meaning: 'The request line and the headers together are larger than the service reads.',
    whatToDo:
      'Send fewer or shorter headers; an operator may raise FIBER_READ_BUFFER_SIZE where they are legitimate.',
  },
  reauthorization_required: {
    meaning:
      'The provider has ended the grant, or its refresh token is lost; `reason` says how. No refresh can heal it.',
    whatToDo:
      'Let the customer authorise again and PUT the new tokens to the same connection. Do not retry before that.',
  },
  connection_paused: {
    meaning: 'Somebody paused the refreshing of this connection, and its token has run out.',
    whatToDo: 'Resume it with POST /v1/connections/{id}/resume when it may be refreshed again.',
  },
  app_misconfigured: {
    meaning:
      'The provider refuses the app itself: its client id, secret, key or redirect. The grants of its customers are untouched.',
    whatToDo:
      'Put the registration right at the provider, or PUT new credentials; then POST /v1/apps/{app_id}/resume. No customer is needed.',
  },
  egress_refused: {
    meaning:
      'The token endpoint is plain http, or its address is not a public one, and EGRESS_ALLOW does not name it. Nothing was sent.',
    whatToDo:
      'Check the URL and the variables of the connection; an operator may add the host to EGRESS_ALLOW.',
  },
  refresh_limited: {
    meaning:
      'This connection was forced to refresh, or its token reported as rejected, more often than its limit allows.',
    whatToDo:
      'Use the token you have, and wait as long as Retry-After says. A resource server that refuses every new token has another problem than the token.',
  },
  provider_answer_unusable: {
    meaning: 'The provider said yes and sent no access token. What else it sent was kept.',
    whatToDo:
      'Wait and try again. If it stays, compare the provider definition (`response`) with what the provider documents.',
  },
  refresh_in_progress: {
    meaning:
      'A refresh is under way and did not end within `wait_seconds`, or a PUT would have replaced a refresh token that is being spent.',
    whatToDo: 'Ask again after Retry-After: all callers share the one refresh.',
  },
  refresh_uncertain: {
    meaning:
      'A refresh token was sent and the answer was lost; sending it again could end the grant. The token that was valid is served until it expires.',
    whatToDo:
      'Ask again after Retry-After. It is resolved by itself, at the latest when the old token runs out: by a new token, or by `reauthorization_required`.',
  },
  provider_unavailable: {
    meaning: 'The provider cannot be reached, or answers with errors of its own.',
    whatToDo: 'Ask again after Retry-After; see the status page of the provider.',
  },
  provider_rate_limited: {
    meaning: 'The provider, or the `limits` of the app, allow no more requests for now.',
    whatToDo:
      'Ask again after Retry-After. If it happens often, spread the connections over time or ask the provider for more.',
  },
  store_unavailable: {
    meaning: 'PostgreSQL is away. Tokens in memory are still served while they are valid.',
    whatToDo: 'Ask again after Retry-After. Operators: see /ready and the log.',
  },
  key_service_unavailable: {
    meaning: 'The key service that opens sealed tokens is away.',
    whatToDo: 'Ask again after Retry-After. Operators: see the log for what it answered.',
  },
  refresh_engine_unavailable: {
    meaning: 'Temporal is away, so no refresh can start; tokens still valid are served.',
    whatToDo: 'Ask again after Retry-After. Operators: see /ready and the log.',
  },
  overloaded: {
    meaning: 'The service has as many requests under way as it takes.',
    whatToDo: 'Ask again after Retry-After. Operators: add gateways, or look for who asks so much.',
  },
  internal: {
    meaning: 'The service has a fault that nobody foresaw. Nothing is said of it here.',
    whatToDo:
      'Give the `request_id` to the operators, who find the fault in the log by it. Sending the same again will hardly help.',
  },
};
