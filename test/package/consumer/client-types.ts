// Compiled only: what the types promise, and what they refuse.
import {
  TokenManagerClient,
  TokenManagerClientError,
  type AccessToken,
  type ClientErrorCode,
  type ClientHooks,
  type ProblemCode,
  type TokenManagerClientOptions,
} from 'token-manager/client';

export const hooks: ClientHooks = {
  onRequest: ({ route, status, durationMs }) =>
    void [route satisfies 'token' | 'refresh', status satisfies number | undefined, durationMs],
};
export const options = {
  baseUrl: new URL('https://tokens.internal'),
  key: async () => 'key',
  tls: { caFile: 'ca.pem', certFile: 'client.pem', keyFile: 'client.key' },
  allowedOrigins: (connectionId: string) => [`https://${connectionId}.example.com`],
  apiFetch: fetch,
  hooks,
} satisfies TokenManagerClientOptions;

export async function use(client: TokenManagerClient, signal: AbortSignal): Promise<void> {
  const token: AccessToken = await client.getToken('c1', { minTtlSeconds: 60, signal });
  token.expiresAt satisfies Date | null;
  (await client.refresh('c1', { rejectedTokenVersion: token.tokenVersion })) satisfies AccessToken;
  (await client.fetch('c1', 'https://api.example.com', {
    method: 'POST',
    body: '',
  })) satisfies Response;
  // @ts-expect-error A token is read, never written.
  token.accessToken = '';
  // @ts-expect-error There is no way to a refresh token.
  token.refreshToken;
  // @ts-expect-error A connection has an id.
  await client.getToken();
  // @ts-expect-error A misspelt option is a fault.
  await client.getToken('c1', { minTtl: 60 });
}

export function explain(error: unknown): string | undefined {
  if (!(error instanceof TokenManagerClientError)) return undefined;
  error.code satisfies ClientErrorCode;
  'reauthorization_required' satisfies ProblemCode;
  // @ts-expect-error There is no such remedy.
  if (error.remedy === 'pray') return 'no';
  return error.requestId;
}
