// Run with the origin of a gateway: prints what a caller of the client gets.
import { ReauthorizationRequiredError, TokenManagerClient } from 'token-manager/client';

const [, , baseUrl = ''] = process.argv;
const client = new TokenManagerClient({ baseUrl, cacheSeconds: 1 });
const { accessToken, tokenVersion } = await client.getToken('c1');
const failure: unknown = await client.getToken('gone').catch((error: unknown) => error);
const isTyped = failure instanceof ReauthorizationRequiredError;
console.log(JSON.stringify({ accessToken, tokenVersion, isTyped }));
