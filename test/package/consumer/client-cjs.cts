// The same by require().
import tokenManager = require('token-manager/client');

async function main(): Promise<void> {
  const [, , baseUrl = ''] = process.argv;
  const client = new tokenManager.TokenManagerClient({ baseUrl, cacheSeconds: 1 });
  const { accessToken, tokenVersion } = await client.getToken('c1');
  const failure: unknown = await client.getToken('gone').catch((error: unknown) => error);
  const isTyped = failure instanceof tokenManager.ReauthorizationRequiredError;
  console.log(JSON.stringify({ accessToken, tokenVersion, isTyped }));
}

void main();
