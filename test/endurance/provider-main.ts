import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { startRotationServer } from '../support/rotation-server.ts';
import { createSeededRandom } from './seeded-random.ts';
import { createTokenWitness } from './token-witness.ts';

/*
 * The authorization server of the endurance run, oidc-provider with a client of each rotation class, as
 * a process of its own, the witness before it. Argument: the seed. Its only line of output is the origin.
 */

const [seed = '1'] = process.argv.slice(2);
const { origin: upstreamOrigin } = await startRotationServer();
const witness = createTokenWitness({
  upstreamOrigin,
  random: createSeededRandom(Number(seed)),
  nowMs: () => Date.now(),
});
witness.listen(0, '127.0.0.1');
await once(witness, 'listening');
const { port } = witness.address() as AddressInfo;
process.stdout.write(`http://127.0.0.1:${port}\n`);
