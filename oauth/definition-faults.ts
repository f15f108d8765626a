import { toRotation } from './definition-rules.ts';
import { definitionMembersSchema, type WireDefinition } from './provider-schema.ts';
import { replayBudgetMs } from './rotation.ts';
import { placeholders, urlTemplateFault } from './url-template.ts';

const placeholderSources = ['uuid', 'now'];
/** Parameters alone may name it: headers are easily logged, and URLs more so. */
const paramPlaceholderSources = [...placeholderSources, 'access_token'];

interface DefinitionFault {
  path: PropertyKey[];
  message: string;
}

/** The wire form of a provider definition: what catalogue files, PROVIDERS_FILE and overrides hold. */
export const providerDefinitionSchema = definitionMembersSchema.superRefine((wire, context) => {
  for (const { path, message } of definitionFaults(wire)) {
    context.addIssue({ code: 'custom', path, message });
  }
});

/** Faults between members, which no member shows alone. */
function definitionFaults(wire: WireDefinition): DefinitionFault[] {
  const faults: DefinitionFault[] = [];
  const declared = Object.keys(wire.variables);
  const requireDeclared = (template: string, known: string[], path: PropertyKey[]): void => {
    for (const used of placeholders(template).filter((used) => !known.includes(used))) {
      faults.push({
        path,
        message: `uses a placeholder that is not declared: ${used.slice(0, 64)}`,
      });
    }
  };
  for (const member of ['token_url', 'refresh_url', 'revoke_url', 'introspect_url'] as const) {
    const template = wire[member] ?? '';
    if (urlTemplateFault(template) === null) requireDeclared(template, declared, [member]);
  }
  for (const member of ['params', 'headers'] as const) {
    for (const [key, value] of Object.entries(wire.request[member])) {
      const sources = member === 'params' ? paramPlaceholderSources : placeholderSources;
      const known = [...sources, ...declared];
      requireDeclared(String(value), known, ['request', member, key]);
    }
  }
  for (const member of ['basic_user', 'basic_password'] as const) {
    requireDeclared(wire[member] ?? '', ['client_id', 'client_secret', ...declared], [member]);
  }
  for (const member of ['iss', 'aud'] as const) {
    requireDeclared(
      wire.assertion?.[member] ?? '',
      ['client_id', ...declared],
      ['assertion', member],
    );
  }
  if (wire.request.method === 'GET' && wire.request.body_format !== 'query') {
    faults.push({
      path: ['request', 'body_format'],
      message: 'must be query, for GET has no body',
    });
  }
  if (wire.credential === 'access_token' && wire.grant_type === undefined) {
    faults.push({ path: ['grant_type'], message: 'is required with credential access_token' });
  }
  return [...faults, ...clientAuthFaults(wire), ...rotationFaults(wire), ...ambiguityFaults(wire)];
}

function rotationFaults(wire: WireDefinition): DefinitionFault[] {
  const { class: rotationClass, grace_seconds: graceSeconds } = wire.rotation;
  if (wire.credential === 'client' && rotationClass !== undefined && rotationClass !== 'S') {
    return [
      { path: ['rotation', 'class'], message: 'must be S: client credentials do not rotate' },
    ];
  }
  const path = ['rotation', 'grace_seconds'];
  if (rotationClass !== 'T') {
    return graceSeconds === undefined
      ? []
      : [{ path, message: 'belongs to rotation class T only' }];
  }
  if (graceSeconds === undefined) return [{ path, message: 'is required by rotation class T' }];
  if (replayBudgetMs(toRotation(wire)) > 0) return [];
  return [{ path, message: 'is too short to replay a lost answer in: choose class F' }];
}

/** What does not go with the way in which the client shows itself. */
function clientAuthFaults(wire: WireDefinition): DefinitionFault[] {
  const faults: DefinitionFault[] = [];
  const { client_auth: method, assertion } = wire;
  for (const member of ['basic_user', 'basic_password'] as const) {
    if (wire[member] !== undefined && method !== 'basic') {
      faults.push({ path: [member], message: 'belongs to client_auth basic only' });
    }
  }
  const isAsserted = method === 'private_key_jwt' || method === 'client_secret_jwt';
  if (assertion !== undefined && !isAsserted) {
    faults.push({
      path: ['assertion'],
      message: 'belongs to client_auth private_key_jwt and client_secret_jwt only',
    });
  }
  if (isAsserted && assertion?.alg !== undefined) {
    const isKeyed = assertion.alg === 'HS256';
    if (isKeyed !== (method === 'client_secret_jwt')) {
      faults.push({ path: ['assertion', 'alg'], message: `does not go with ${method}` });
    }
  }
  if (isAsserted && wire.request.omit.includes('client_assertion')) {
    faults.push({ path: ['request', 'omit'], message: 'must not leave out the client assertion' });
  }
  if (method !== 'tls') return faults;
  for (const member of ['token_url', 'refresh_url', 'revoke_url', 'introspect_url'] as const) {
    if (wire[member]?.startsWith('http:') === true) {
      faults.push({ path: [member], message: 'must begin with https:// for client_auth tls' });
    }
  }
  return faults;
}

function ambiguityFaults(wire: WireDefinition): DefinitionFault[] {
  const path = ['ambiguity', 'probe'];
  if (wire.ambiguity.probe !== 'introspection') return [];
  if (wire.introspect_url === undefined) return [{ path, message: 'needs an introspect_url' }];
  return wire.credential === 'refresh_token'
    ? []
    : [{ path, message: 'asks about refresh tokens, which this credential has not' }];
}
