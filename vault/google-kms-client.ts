import { setTimeout as sleep } from 'node:timers/promises';
import type { KeyManagementServiceClient, protos } from '@google-cloud/kms';
import { TokenManagerError } from '../client/contract.ts';
import { kmsFailure, mayPass, noCredentials, type KmsCall } from './google-kms-error.ts';
import { keyServiceError } from './key-service-error.ts';

/** A call takes some tens of milliseconds; with a connection and credentials to get, some hundreds. */
const attemptDeadlineMs = 2_500;
/** Callers wait for it, and a worker has nothing sent yet. The library's own is ten minutes. */
const callDeadlineMs = 6_000;
const attemptsMax = 3;
const retryDelayMs = 100;
/**
 * Calls are an hour apart: a connection that has idled is closed before anything on the way forgets it,
 * and the next call opens one instead of waiting for a dead one.
 */
const idleTimeoutMs = 60_000;
/** The library's own is two minutes, for which a service that is back would not be found. */
const reconnectBackoffMaxMs = 5_000;

type EncryptRequest = protos.google.cloud.kms.v1.IEncryptRequest;
type EncryptResponse = protos.google.cloud.kms.v1.IEncryptResponse;
type DecryptRequest = protos.google.cloud.kms.v1.IDecryptRequest;
type DecryptResponse = protos.google.cloud.kms.v1.IDecryptResponse;

export interface KmsEndpoint {
  /** IPv6 in brackets. */
  host: string;
  port: number;
  /** No TLS and no credentials: only for a server of tests on this machine. */
  isPlaintext: boolean;
}

/**
 * The two calls, each within a deadline of 6 s, tried three times where that can help. They throw
 * `key_service_unavailable` with a reason, also when `read`, which checks an answer, throws one.
 */
export interface GoogleKmsClient {
  encrypt<Result>(
    request: EncryptRequest,
    about: KmsCall,
    read: (response: EncryptResponse) => Result,
  ): Promise<Result>;
  decrypt<Result>(
    request: DecryptRequest,
    about: KmsCall,
    read: (response: DecryptResponse) => Result,
  ): Promise<Result>;
}

type Library = Pick<KeyManagementServiceClient, 'encrypt' | 'decrypt'>;

/**
 * Connects with the first call. Credentials are the application-default ones. Loading the library takes a
 * quarter of a second of one's own: at the start of a process, and only of one that has Cloud KMS.
 */
export async function loadGoogleKmsClient(
  endpoint: KmsEndpoint | undefined,
): Promise<GoogleKmsClient> {
  await import('@google-cloud/kms');
  let opening: Promise<Library> | undefined;

  /** The library keeps a failed start for good: it is thrown away here, so that the next call starts anew. */
  function open(): Promise<Library> {
    opening ??= openLibrary(endpoint).catch(() => {
      opening = undefined;
      throw noCredentials();
    });
    return opening;
  }

  return {
    encrypt: (request, about, read) =>
      withRetries(about, async (timeoutMs) => {
        const [response] = await (await open()).encrypt(request, callOptions(timeoutMs));
        return read(response);
      }),
    decrypt: (request, about, read) =>
      withRetries(about, async (timeoutMs) => {
        const [response] = await (await open()).decrypt(request, callOptions(timeoutMs));
        return read(response);
      }),
  };
}

async function openLibrary(endpoint: KmsEndpoint | undefined): Promise<Library> {
  const { KeyManagementServiceClient } = await import('@google-cloud/kms');
  const client = new KeyManagementServiceClient({
    ...(endpoint !== undefined && { apiEndpoint: endpoint.host, port: endpoint.port }),
    ...(endpoint?.isPlaintext === true && (await plaintextOptions())),
    'grpc.client_idle_timeout_ms': idleTimeoutMs,
    'grpc.max_reconnect_backoff_ms': reconnectBackoffMaxMs,
  });
  // Inside a call a failure to start would be an unhandled rejection, which ends the process.
  await client.initialize();
  return client;
}

async function plaintextOptions() {
  const { googleAuthLibrary, grpc } = await import('google-gax');
  return {
    sslCreds: grpc.credentials.createInsecure(),
    authClient: new googleAuthLibrary.PassThroughClient(),
    'grpc.enable_http_proxy': 0,
  };
}

/** The library's retries are off: ours have one deadline, and check the answer too. */
function callOptions(timeout: number) {
  return { timeout, retry: { retryCodes: [] } };
}

async function withRetries<Result>(
  about: KmsCall,
  attempt: (timeoutMs: number) => Promise<Result>,
): Promise<Result> {
  const endsAtMs = performance.now() + callDeadlineMs;
  for (let attempts = 1; ; attempts += 1) {
    const leftMs = Math.max(1, Math.min(attemptDeadlineMs, endsAtMs - performance.now()));
    try {
      return await within(leftMs, about, attempt(leftMs));
    } catch (error) {
      const failure = error instanceof TokenManagerError ? error : kmsFailure(error, about);
      const delayMs = Math.random() * retryDelayMs * 2 ** attempts;
      const isLast = attempts === attemptsMax || performance.now() + delayMs >= endsAtMs;
      if (isLast || !mayPass(failure)) throw failure;
      await sleep(delayMs);
    }
  }
}

/** Getting credentials has no deadline of its own. */
async function within<Result>(
  timeoutMs: number,
  { op, resource }: KmsCall,
  call: Promise<Result>,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const what = `Cloud KMS, asked to ${op} with ${resource}, did not answer in ${timeoutMs} ms`;
      reject(keyServiceError('unavailable', `${what}: look at the network on the way to it.`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([call, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
