// A service that shows a customer's profile at the provider: GET /userinfo/{connection id}. It keeps no token,
// and knows nothing of refreshing.
import { createServer } from 'node:http';
import { ReauthorizationRequiredError, TokenManagerClient } from 'token-manager/client';

const {
  TOKEN_MANAGER_URL = 'http://127.0.0.1:8082',
  // Where there is a certificate: TOKEN_MANAGER_URL begins with https, and these name its files.
  TLS_CA_FILE,
  TLS_CLIENT_CERT_FILE,
  TLS_CLIENT_KEY_FILE,
  TOKEN_MANAGER_KEY,
  API_URL = 'http://127.0.0.1:8084',
  PORT = '8090',
} = process.env;

const counts = { tokens: {}, requests: 0, retries: 0, rejected: 0 };

const tokens = new TokenManagerClient({
  baseUrl: TOKEN_MANAGER_URL,
  ...(TOKEN_MANAGER_KEY && { key: TOKEN_MANAGER_KEY }),
  ...(TLS_CA_FILE && {
    tls: {
      caFile: TLS_CA_FILE,
      ...(TLS_CLIENT_CERT_FILE && {
        certFile: TLS_CLIENT_CERT_FILE,
        keyFile: TLS_CLIENT_KEY_FILE,
      }),
    },
  }),
  // Tokens go nowhere else. The demo provider is on loopback, so plain http is allowed for it.
  allowedOrigins: [new URL(API_URL).origin],
  hooks: {
    onToken: ({ source }) => (counts.tokens[source] = (counts.tokens[source] ?? 0) + 1),
    onRequest: () => (counts.requests += 1),
    onRetry: () => (counts.retries += 1),
    onTokenRejected: () => (counts.rejected += 1),
    onGatewayAway: (isAway) => console.log(`token manager ${isAway ? 'is away' : 'is back'}`),
  },
});

const server = createServer((request, response) => {
  void answer(request, response);
});

async function answer(request, response) {
  const [, route, connectionId = ''] = (request.url ?? '').split('/');
  if (route === 'counts') return send(response, 200, counts);
  if (route !== 'userinfo') return send(response, 404, { error: 'GET /userinfo/{connection id}' });
  try {
    const profile = await tokens.fetch(connectionId, new URL('/me', API_URL));
    send(response, profile.status, await profile.json());
  } catch (error) {
    if (error instanceof ReauthorizationRequiredError) {
      // The only case in which the customer has to do something.
      return send(response, 409, { error: 'Please connect the account again.' });
    }
    // `code` and `requestId` lead to the log of the token manager, and no error holds a token.
    console.error(error);
    send(response, error.retryable ? 503 : 500, { error: error.code ?? 'internal' });
  }
}

function send(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

server.listen(Number(PORT), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

process.once('SIGTERM', () => {
  server.close();
  tokens.close();
});
