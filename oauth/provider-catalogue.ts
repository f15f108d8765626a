import { readdirSync, readFileSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { TokenManagerError } from '../client/contract.ts';
import type { ProviderFacts, ProviderRules } from '../connections/app.ts';
import { parseProviderDefinition } from './parse-provider-definition.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import { toPointer } from './json-pointer.ts';
import { providerDefinitionSchema } from './definition-faults.ts';
import type { WireDefinition } from './provider-schema.ts';
import { isCrashInsideGrace } from './rotation.ts';
import { resolveLifetime } from './token-lifetime.ts';
import { isHostAllowed, placeholders, renderUrl, templateOrigin } from './url-template.ts';

const resolvedEntriesMax = 1_000;
const variableLengthMax = 255;
const providerNamePattern = /^[a-z0-9][a-z0-9_-]{0,63}$/;
/** A definition without one, such as `generic`, is checked as if it had this token URL. */
const placeholderTokenUrl = 'https://provider.invalid/token';

/** Without a token URL where each app must say its own, as with `generic`. */
type WrittenDefinition = Omit<WireDefinition, 'token_url'> & { token_url: string | null };

export interface ProviderCatalogue extends ProviderRules {
  names(): string[];
  /** A definition as it was written, with defaults; undefined: there is none of this name. */
  written(provider: string): WrittenDefinition | undefined;
  /**
   * The provider's definition with an app's overrides merged in: objects deeply, arrays replaced, null
   * takes a member away. Throws `provider_not_found`, or `input_validation` with JSON pointers under
   * `/overrides`.
   */
  resolve(provider: string, overrides: Record<string, unknown>): ProviderDefinition;
  /** What an operator should know about the definitions, as sentences for the log. */
  warnings(): string[];
}

/** The definitions in oauth/catalogue/, by name. */
export function loadBuiltInProviders(): Record<string, unknown> {
  const folder = `${import.meta.dirname}/catalogue`;
  const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
  return Object.fromEntries(
    files.map((file) => [
      file.slice(0, -'.json'.length),
      JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')) as unknown,
    ]),
  );
}

/**
 * Builds the catalogue. `providersFile` is the content of PROVIDERS_FILE, `{"<name>": definition}`; its
 * definitions replace built-in ones of the same name. Throws `input_validation` with JSON pointers into
 * that content.
 */
export function createProviderCatalogue(sources: {
  builtIn: Record<string, unknown>;
  providersFile?: string;
}): ProviderCatalogue {
  const bases = new Map<string, Record<string, unknown>>();
  for (const [name, json] of Object.entries(sources.builtIn))
    bases.set(name, checkBase(name, json));
  for (const [name, json] of Object.entries(parseProvidersFile(sources.providersFile))) {
    bases.set(name, checkBase(name, json));
  }
  const resolved = new LRUCache<string, ProviderDefinition>({ max: resolvedEntriesMax });

  function resolve(provider: string, overrides: Record<string, unknown>): ProviderDefinition {
    const base = bases.get(provider);
    if (base === undefined) throw new TokenManagerError('provider_not_found');
    const key = `${provider} ${JSON.stringify(overrides)}`;
    const known = resolved.get(key);
    if (known !== undefined) return known;
    const definition = parseProviderDefinition(mergeDefinitions(base, overrides), '/overrides');
    resolved.set(key, definition);
    return definition;
  }

  return {
    names: () => [...bases.keys()].sort(),
    written(provider) {
      const base = bases.get(provider);
      return base && readWritten(base);
    },
    resolve,
    warnings: () => [...bases].flatMap(([name, base]) => warningsOf(name, base)),
    describe: (provider, overrides) => toFacts(resolve(provider, overrides)),
    checkVariables(provider, overrides, variables) {
      checkVariables(resolve(provider, overrides), variables);
    },
    tokenHost(provider, overrides, variables) {
      const { refreshUrl, tokenUrl } = resolve(provider, overrides);
      return renderUrl(refreshUrl ?? tokenUrl, variables)?.host ?? null;
    },
    assumeLifetime: (provider, overrides, token, clamp) =>
      resolveLifetime({
        definition: resolve(provider, overrides),
        tokens: { accessToken: token.accessToken, expiresInSeconds: null, expiresAt: null },
        lastLifetimeSeconds: token.lastLifetimeSeconds,
        hasRefreshToken: token.canRefresh,
        sentAt: token.now,
        clamp,
      }),
  };
}

/** Overrides win; objects merge, everything else replaces, null removes (as RFC 7396). */
function mergeDefinitions(
  base: Record<string, unknown>,
  overrides: Record<string, unknown>,
): Record<string, unknown> {
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(overrides)) {
    const inherited = merged.get(key);
    if (value === null) merged.delete(key);
    else if (!isObject(value)) merged.set(key, value);
    else merged.set(key, mergeDefinitions(isObject(inherited) ? inherited : {}, value));
  }
  // fromEntries defines even `__proto__` as a plain member, which the strict schema then refuses.
  return Object.fromEntries(merged);
}

function parseProvidersFile(content: string | undefined): Record<string, unknown> {
  if (content === undefined) return {};
  const json = parseJson(content);
  if (isObject(json)) return json;
  throw new TokenManagerError('input_validation', {
    detail: 'PROVIDERS_FILE does not hold a JSON object of provider definitions.',
    errors: [{ pointer: '', detail: 'must be a JSON object' }],
  });
}

function checkBase(name: string, json: unknown): Record<string, unknown> {
  const prefix = toPointer([name]);
  const base = isObject(json) ? json : {};
  if (!isObject(json) || !providerNamePattern.test(name)) {
    throw new TokenManagerError('input_validation', {
      detail: 'A provider definition is not valid.',
      errors: [{ pointer: prefix, detail: 'must be an object under a name of a-z 0-9 _ -' }],
    });
  }
  withTokenUrl(base, prefix);
  return base;
}

function withTokenUrl(base: Record<string, unknown>, prefix: string): ProviderDefinition {
  return parseProviderDefinition({ token_url: placeholderTokenUrl, ...base }, prefix);
}

/** `base` was checked when the catalogue was made. */
function readWritten(base: Record<string, unknown>): WrittenDefinition {
  const wire = providerDefinitionSchema.parse({ token_url: placeholderTokenUrl, ...base });
  return { ...wire, token_url: 'token_url' in base ? wire.token_url : null };
}

function warningsOf(name: string, base: Record<string, unknown>): string[] {
  const warnings = rotationWarnings(withTokenUrl(base, toPointer([name])));
  return warnings.map((warning) => `provider ${name}: ${warning}`);
}

/** What an operator should know of a definition's rotation rule. */
function rotationWarnings(definition: ProviderDefinition): string[] {
  const { rotation } = definition;
  if (rotation.class !== 'T' || isCrashInsideGrace(rotation)) return [];
  return ['grace_seconds is too short to replay after a crash; there class T counts as F'];
}

function toFacts(definition: ProviderDefinition): ProviderFacts {
  const origins = endpointTemplates(definition).map(templateOrigin);
  const inHosts = new Set(origins.flatMap(placeholders));
  return {
    credential: definition.credential,
    rotationClass: definition.rotation.class,
    endpointHosts: origins,
    hostVariablePatterns: Object.fromEntries(
      Object.entries(definition.variables)
        .filter(([variable]) => inHosts.has(variable))
        .map(([variable, { pattern }]) => [variable, pattern.source]),
    ),
    allowedHosts: definition.allowedHosts,
    privateKeyAlg: definition.clientAuth === 'private_key_jwt' ? definition.assertion.alg : null,
    needsDpopKey: definition.dpop,
    canRevoke: definition.revokeUrl !== null,
    grantLifetime: definition.lifetime,
  };
}

function endpointTemplates(definition: ProviderDefinition): string[] {
  const { tokenUrl, refreshUrl, revokeUrl, introspectUrl } = definition;
  return [tokenUrl, refreshUrl, revokeUrl, introspectUrl].filter((template) => template !== null);
}

function checkVariables(definition: ProviderDefinition, variables: Record<string, string>): void {
  const faults = [];
  const templates = [
    ...endpointTemplates(definition),
    ...Object.values(definition.request.params).map(String),
    ...Object.values(definition.request.headers),
    definition.basicUser ?? '',
    definition.basicPassword ?? '',
    definition.assertion.iss ?? '',
    definition.assertion.aud ?? '',
  ];
  const used = new Set(templates.flatMap(placeholders));
  for (const [name, { pattern }] of Object.entries(definition.variables)) {
    const pointer = toPointer(['variables', name]);
    const value = Object.hasOwn(variables, name) ? variables[name] : undefined;
    if (value === undefined) {
      if (used.has(name)) faults.push({ pointer, detail: 'is required by the provider' });
    } else if (value.length > variableLengthMax || !pattern.test(value)) {
      faults.push({ pointer, detail: `does not match ${pattern.source}` });
    }
  }
  if (faults.length === 0 && !areEndpointsAllowed(definition, variables)) {
    faults.push({
      pointer: '/variables',
      detail: 'lead to a host that the provider does not allow',
    });
  }
  if (faults.length > 0) throw new TokenManagerError('input_validation', { errors: faults });
}

function areEndpointsAllowed(
  definition: ProviderDefinition,
  variables: Record<string, string>,
): boolean {
  return endpointTemplates(definition).every((template) => {
    const url = renderUrl(template, variables);
    if (url === null) return false;
    return definition.allowedHosts === null || isHostAllowed(url.hostname, definition.allowedHosts);
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseJson(content: string): unknown {
  try {
    return JSON.parse(content) as unknown;
  } catch {
    return undefined;
  }
}
