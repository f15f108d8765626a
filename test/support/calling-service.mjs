// A service process for tests: waits for a line, then has callers ask for the token of one connection at once, and prints
// which versions they got. Arguments: base URL, connection, how many callers.
import { once } from 'node:events';
import { TokenManagerClient } from 'token-manager/client';

const [, , baseUrl, connectionId, callers] = process.argv;
const client = new TokenManagerClient({ baseUrl });
console.log('ready');
await once(process.stdin, 'data');
const calls = Array.from({ length: Number(callers) }, () => client.getToken(connectionId));
const ends = await Promise.allSettled(calls);
console.log(JSON.stringify(ends.map(({ value, reason }) => value?.tokenVersion ?? reason.code)));
process.exit(0);
