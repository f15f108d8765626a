import { startRotationServer } from './rotation-server.ts';

/*
 * The authorization server of rotation-server.ts as a process of its own, on PORT or a free one. Prints
 * one line of JSON when it listens: {"url", "token_url", "introspect_url", "revoke_url"}.
 */

const port = process.env['PORT'];
const server = await startRotationServer(port === undefined ? {} : { port: Number(port) });
const { origin, tokenUrl, introspectUrl, revokeUrl } = server;
const urls = {
  url: origin,
  token_url: tokenUrl,
  introspect_url: introspectUrl,
  revoke_url: revokeUrl,
};
process.stdout.write(`${JSON.stringify(urls)}\n`);
process.once('SIGTERM', () => void server.close());
