import { KeyManagementServiceClient } from '@google-cloud/kms';
import { googleAuthLibrary, grpc } from 'google-gax';

/** The client library, as an operator of the test server's keys would use it. */
export function createKmsAdmin(endpoint: string): KeyManagementServiceClient {
  const { hostname, port } = new URL(endpoint);
  return new KeyManagementServiceClient({
    apiEndpoint: hostname,
    port: Number(port),
    sslCreds: grpc.credentials.createInsecure(),
    authClient: new googleAuthLibrary.PassThroughClient(),
  });
}

/** Enables or disables a version by its resource name. */
export async function setVersionEnabled(
  admin: KeyManagementServiceClient,
  name: string,
  isEnabled: boolean,
): Promise<void> {
  await admin.updateCryptoKeyVersion({
    cryptoKeyVersion: { name, state: isEnabled ? 'ENABLED' : 'DISABLED' },
    updateMask: { paths: ['state'] },
  });
}
