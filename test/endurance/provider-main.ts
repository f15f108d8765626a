import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFamilyServer } from './family-server.ts';
import { createSeededRandom } from './seeded-random.ts';
import { createTokenWitness } from './token-witness.ts';

/*
 * The authorization server of the endurance run as a process of its own, the witness before it.
 * Arguments: the seed and the grace of class T in seconds. Its only line of output is the origin.
 */

const [seed = '1', graceSeconds = '30'] = process.argv.slice(2);

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const nowMs = (): number => Date.now();
const upstreamOrigin = await listen(
  createFamilyServer({ graceMs: 1_000 * Number(graceSeconds), nowMs }),
);
const witness = createTokenWitness({
  upstreamOrigin,
  random: createSeededRandom(Number(seed)),
  nowMs,
});
process.stdout.write(`${await listen(witness)}\n`);
