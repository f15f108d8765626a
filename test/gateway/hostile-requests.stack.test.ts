import { fork, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';

const requests = 20_000;
/** Fills what a process keeps for good: pools, compiled code, the metrics' series. */
const warmUpRequests = 4_000;
const atOnce = 100;
/** A connection that the server does not end is ended here. */
const patienceMs = 10_000;
const memoryGrowthMax = 1.2;

let server: ChildProcess;
let port: number;

beforeAll(async () => {
  server = fork(join(import.meta.dirname, 'hostile-server.ts'), { execArgv: ['--import', 'tsx'] });
  const [{ url }] = (await once(server, 'message')) as [{ url: string }];
  port = Number(new URL(url).port);
});
afterAll(() => {
  server.disconnect();
});

const host = 'Host: x\r\n';
const post = `POST /v1/connections/c1/token/refresh HTTP/1.1\r\n${host}Content-Type: application/json\r\n`;

/** One of each kind in turn. Those marked slow keep their connection until the server ends it. */
const kinds: { bytes: () => string | Buffer; isSlow?: boolean; answer?: RegExp }[] = [
  { bytes: () => randomBytes(200) },
  { bytes: () => randomBytes(5_000) },
  { bytes: () => 'nonsense\r\n\r\n', answer: /^HTTP\/1.1 400 / },
  { bytes: () => `GET /ping HTTP/9.9\r\n${host}\r\n`, answer: /^HTTP\/1.1 400 / },
  { bytes: () => 'GET /ping HTTP/1.1\r\n\r\n', answer: /^HTTP\/1.1 400 / },
  { bytes: () => 'CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n', answer: /^HTTP\/1.1 405 / },
  {
    bytes: () => `GET /ping HTTP/1.1\r\n${host}X: ${'a'.repeat(9_000)}\r\n\r\n`,
    answer: /^HTTP\/1.1 431 /,
  },
  {
    bytes: () => `GET /${'a'.repeat(9_000)} HTTP/1.1\r\n${host}\r\n`,
    answer: /^HTTP\/1.1 431 /,
  },
  {
    bytes: () => `${post}Content-Length: 99999999999\r\n\r\n{`,
    answer: /^HTTP\/1.1 413 /,
  },
  { bytes: () => `${post}Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}` },
  { bytes: () => `${post}Transfer-Encoding: chunked\r\n\r\nZZ\r\n`, answer: /^HTTP\/1.1 400 / },
  {
    bytes: () => `${post}Content-Length: 4\r\nConnection: close\r\n\r\n{"a"`,
    answer: /^HTTP\/1.1 400 /,
  },
  {
    bytes: () => `GET /v1/connections/%00/token HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
    answer: /^HTTP\/1.1 400 /,
  },
];
const slowKinds: typeof kinds = [
  { bytes: () => '', isSlow: true, answer: /^HTTP\/1.1 408 / },
  { bytes: () => 'GET /ping HT', isSlow: true, answer: /^HTTP\/1.1 408 / },
  { bytes: () => `${post}Content-Length: 50\r\n\r\n{`, isSlow: true, answer: /^HTTP\/1.1 408 / },
];

/** Resolves with what came back once the connection has ended. */
function send({ bytes, isSlow = false }: (typeof kinds)[number]): Promise<string> {
  return new Promise((resolve) => {
    let received = '';
    const socket = connect(port, '127.0.0.1', () => {
      const first = bytes();
      if (first.length > 0) socket.write(first);
      // A stranger who says no more, unless he is the one who waits to be cut off.
      if (!isSlow) setTimeout(() => socket.end(), 20);
    });
    socket.setTimeout(patienceMs, () => socket.destroy());
    socket.on('data', (chunk) => (received += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(received));
  });
}

async function attack(total: number, every: typeof kinds): Promise<string[]> {
  const odd: string[] = [];
  let sent = 0;
  const oneAfterTheOther = async () => {
    while (sent < total) {
      const kind = every[sent % every.length];
      sent += 1;
      if (kind === undefined) break;
      const received = await send(kind);
      // A reset may cost an answer, so that only a wrong one counts.
      if (received !== '' && kind.answer?.test(received) === false)
        odd.push(received.slice(0, 200));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, oneAfterTheOther));
  return odd;
}

/** The least of several looks: what is being used just now is not held. */
async function memory(): Promise<{ usedBytes: number; rssBytes: number }> {
  const looks: { usedBytes: number; rssBytes: number }[] = [];
  for (let look = 0; look < 4; look += 1) {
    server.send({});
    const [seen] = (await once(server, 'message')) as [(typeof looks)[number]];
    looks.push(seen);
    await sleep(300);
  }
  return {
    usedBytes: Math.min(...looks.map(({ usedBytes }) => usedBytes)),
    rssBytes: Math.min(...looks.map(({ rssBytes }) => rssBytes)),
  };
}

it('20,000 hostile requests leave the process up, its memory as it was, and fresh reads answered meanwhile', async () => {
  await attack(warmUpRequests, kinds);
  const before = await memory();

  const attacking = new AbortController();
  const reads: number[] = [];
  const reading = (async () => {
    while (!attacking.signal.aborted) {
      const answer = await fetch(`http://127.0.0.1:${port}/v1/connections/c1/token`);
      await answer.arrayBuffer();
      reads.push(answer.status);
      await sleep(20);
    }
  })();
  const slow = attack(4 * atOnce, slowKinds);
  const odd = [...(await attack(requests - 4 * atOnce, kinds)), ...(await slow)];
  attacking.abort();
  await reading;

  expect(odd).toEqual([]);
  expect(reads.length).toBeGreaterThan(20);
  expect(reads.filter((status) => status !== 200)).toEqual([]);
  expect(server.exitCode).toBeNull();
  const after = await memory();
  expect(after.usedBytes).toBeLessThan(before.usedBytes * memoryGrowthMax);
  expect(after.rssBytes).toBeLessThan(before.rssBytes * memoryGrowthMax);
}, 180_000);
