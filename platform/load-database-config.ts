import { readFileSync } from 'node:fs';
import { throwFaults } from './config-file.ts';
import { readDatabase, type DatabaseConfig } from './database-settings.ts';
import { createSettings, type Environment } from './settings.ts';

/**
 * What `token-manager migrate` needs: a job that migrates has no key file and no Temporal. Throws one
 * `input_validation` that lists every fault.
 */
export function loadDatabaseConfig(env: Environment = process.env): DatabaseConfig {
  const settings = createSettings(env, (path) => readFileSync(path, 'utf8'));
  const database = readDatabase(settings);
  throwFaults(settings.faults);
  return database;
}
