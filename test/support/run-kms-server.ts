import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { kmsKeyName, startKmsServer, type KmsFaults } from './kms-server.ts';

/*
 * The Cloud KMS of kms-server.ts as a process of its own, for processes that are told of it by
 * KMS_API_ENDPOINT and KMS_KEY_NAME: on PORT or a free one, with the keys of KEY_NAMES (separated by
 * commas) or one. Prints one line of JSON when it listens: {"kms_api_endpoint", "kms_key_names",
 * "control_url"}. At the control URL `GET /calls` answers how often each method was called, and
 * `POST /faults` replaces the faults. Its keys end with it.
 */

const { PORT: port, KEY_NAMES: given } = process.env;
const keyNames = given === undefined ? [kmsKeyName] : given.split(',');
const server = await startKmsServer({
  keyNames,
  ...(port !== undefined && { port: Number(port) }),
});

const control = createServer((request, response) => {
  const answer = (body: object) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const route = `${request.method ?? ''} ${request.url ?? ''}`;
    if (route === 'GET /calls') answer(server.calls());
    else if (route === 'POST /faults') {
      server.setFaults(JSON.parse(Buffer.concat(chunks).toString()) as Partial<KmsFaults>);
      answer({});
    } else response.writeHead(404).end();
  });
});
control.listen(0, '127.0.0.1');
await once(control, 'listening');
process.stdout.write(
  `${JSON.stringify({
    kms_api_endpoint: server.endpoint,
    kms_key_names: keyNames,
    control_url: `http://127.0.0.1:${(control.address() as AddressInfo).port}`,
  })}\n`,
);
process.once('SIGTERM', () => {
  control.close();
  server.close();
});
