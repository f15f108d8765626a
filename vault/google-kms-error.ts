import type { TokenManagerError } from '../client/contract.ts';
import { keyServiceError, type KeyServiceReason } from './key-service-error.ts';

/** Numbers of gRPC statuses (grpc/grpc, doc/statuscodes.md). */
const grpcStatus = {
  unknown: 2,
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unauthenticated: 16,
};

/** Roles that hold what each call needs (Google Cloud, Cloud KMS roles). */
const roles = {
  encrypt: 'roles/cloudkms.cryptoKeyEncrypter',
  decrypt: 'roles/cloudkms.cryptoKeyDecrypter',
};

/** What was asked, of which key or version. */
export interface KmsCall {
  op: 'encrypt' | 'decrypt';
  resource: string;
}

/**
 * What Cloud KMS, or the way to it, answered, as `key_service_unavailable` with a reason and what to
 * do. The server's own text is looked at and not taken along: nothing keeps it from quoting what it was sent.
 */
export function kmsFailure(error: unknown, { op, resource }: KmsCall): TokenManagerError {
  const { code, text, reason: googleReason } = partsOf(error);
  const refused = (reason: KeyServiceReason, what: string, remedy: string) =>
    keyServiceError(reason, `Cloud KMS, asked to ${op} with ${resource}, ${what}: ${remedy}.`);

  if (/getting metadata from plugin failed/i.test(text)) return noCredentials();
  if (/checksum/i.test(text)) return changedOnTheWay();
  switch (code) {
    case grpcStatus.unauthenticated:
      return noCredentials();
    case grpcStatus.permissionDenied:
      return googleReason === 'SERVICE_DISABLED' || googleReason === 'BILLING_DISABLED'
        ? refused(
            'permission_denied',
            `says ${googleReason} of the project`,
            'enable cloudkms.googleapis.com and billing in the project of the key',
          )
        : refused(
            'permission_denied',
            'denies it to this service account',
            `grant it ${roles[op]} on the key, or correct the name, for a key that is not there may be denied too`,
          );
    case grpcStatus.notFound:
      return refused('key_not_found', 'finds no such key', 'correct KMS_KEY_NAME');
    case grpcStatus.failedPrecondition:
      return unusable(text, refused);
    case grpcStatus.invalidArgument:
      return op === 'decrypt'
        ? refused(
            'damaged',
            'cannot open what is stored',
            'its row in data_keys was changed or damaged; restore it from a backup',
          )
        : refused(
            'key_unusable',
            'does not take the call',
            'KMS_KEY_NAME must name a key whose purpose is ENCRYPT_DECRYPT',
          );
    case grpcStatus.resourceExhausted:
      return refused(
        'quota_exceeded',
        'says that a quota is used up',
        'look at the quotas of the project; processes call once an hour and data key',
      );
    default:
      return refused(
        'unavailable',
        `did not answer (gRPC status ${code})`,
        'look at the network and at the status of Cloud KMS; it is tried again',
      );
  }
}

function unusable(
  text: string,
  refused: (reason: KeyServiceReason, what: string, remedy: string) => TokenManagerError,
): TokenManagerError {
  if (/destroy/i.test(text)) {
    return refused(
      'key_destroyed',
      'says that the key version is destroyed or about to be',
      'restore the version while it is scheduled for destruction; what a destroyed one wrapped is lost',
    );
  }
  if (/disabled/i.test(text)) {
    return refused('key_disabled', 'says that the key version is disabled', 'enable the version');
  }
  return refused(
    'key_unusable',
    'says that the key cannot be used now',
    'it needs the purpose ENCRYPT_DECRYPT and an enabled primary version',
  );
}

/** What was sent or answered does not match its CRC32C. */
export function changedOnTheWay(): TokenManagerError {
  return keyServiceError(
    'checksum_mismatch',
    'What went to Cloud KMS or came back was changed on the way (CRC32C): look at the proxies between; ' +
      'nothing of it was used.',
  );
}

/** Also where the library cannot even start; what it says then may quote the file of the credentials. */
export function noCredentials(): TokenManagerError {
  return keyServiceError(
    'unauthenticated',
    'There are no application-default credentials that Cloud KMS takes: run under a service account ' +
      '(workload identity), or set GOOGLE_APPLICATION_CREDENTIALS.',
  );
}

/** Calls whose failure may be gone with the next one. */
export function mayPass({ reason }: TokenManagerError): boolean {
  return (
    reason === 'unavailable' ||
    reason === 'checksum_mismatch' ||
    // A metadata server that restarts is no credentials for a moment.
    reason === 'unauthenticated'
  );
}

/** Of a GoogleError: a status, a message, and the reason of google.rpc.ErrorInfo. */
function partsOf(error: unknown): { code: number; text: string; reason?: string } {
  if (!(error instanceof Error)) return { code: grpcStatus.unknown, text: '' };
  return {
    code: 'code' in error && typeof error.code === 'number' ? error.code : grpcStatus.unknown,
    text: error.message,
    ...('reason' in error && typeof error.reason === 'string' && { reason: error.reason }),
  };
}
