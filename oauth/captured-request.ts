import * as oauth from 'oauth4webapi';

/** Headers in which the client or its key shows itself; all others are written here, not by the library. */
const keptHeaders = ['authorization', 'dpop'] as const;

/** A request as oauth4webapi would have sent it. It holds secrets in clear. */
export interface CapturedRequest {
  params: [string, string][];
  headers: Partial<Record<(typeof keptHeaders)[number], string>>;
}

interface CaptureOptions {
  [oauth.customFetch]: (
    url: string,
    init: { body: unknown; headers: Record<string, string> },
  ) => Promise<Response>;
}

export type GrantEndpoint = 'token_endpoint' | 'introspection_endpoint' | 'revocation_endpoint';

/** A request function of oauth4webapi, called with what it is to believe of server and client. */
export type BuildRequest = (
  server: oauth.AuthorizationServer,
  client: oauth.Client,
  options: CaptureOptions,
) => Promise<Response>;

/**
 * Lets oauth4webapi build a request, and takes it instead of sending it. Null: the library refuses to
 * build it, for an empty client id or token, in messages that need no repeating.
 */
export async function captureRequest(
  clientId: string,
  endpoint: GrantEndpoint,
  url: URL,
  build: BuildRequest,
): Promise<CapturedRequest | null> {
  // Nothing is sent from here, and egress decides about plain http: named https, the library's own check
  // stays on.
  const named = new URL(url);
  named.protocol = 'https:';
  let captured: CapturedRequest | null = null;
  const options: CaptureOptions = {
    [oauth.customFetch]: (_url, init) => {
      if (init.body instanceof URLSearchParams) {
        captured = { params: [...init.body], headers: keptOf(init.headers) };
      }
      return Promise.resolve(new Response());
    },
  };
  try {
    const server = { issuer: named.origin, [endpoint]: named.href };
    await build(server, { client_id: clientId }, options);
  } catch {
    return null;
  }
  return captured;
}

function keptOf(headers: Record<string, string>): CapturedRequest['headers'] {
  return Object.fromEntries(
    keptHeaders.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])),
  );
}
