-- FHIR R4: bundles (.json, one a patient or many in one) as Synthea writes them, or a bulk export (.ndjson). The first coding of a resource is its code.
-- needs: json_files
-- Left out: notes, claims, devices, care plans, reports (their results are observations), the ends of periods, values that are no numbers.

CREATE TEMP TABLE resources AS
SELECT r->>'resourceType' AS kind, r
FROM (
    SELECT unnest(CASE WHEN json->>'resourceType' = 'Bundle' THEN json_extract(json, '$.entry[*].resource') ELSE [json] END) AS r FROM json_files
)
WHERE kind IN ('Patient', 'Encounter', 'Condition', 'Observation', 'MedicationRequest', 'MedicationAdministration', 'Procedure', 'Immunization', 'AllergyIntolerance');

-- 'Patient/7' and 'urn:uuid:7' are the patient 7. Times keep the clock of the place; of a year or a month the first day counts.
CREATE MACRO patient_of(r) AS regexp_extract(coalesce(r->>'$.subject.reference', r->>'$.patient.reference'), '([^/:]+)$', 1);
CREATE MACRO moment(text) AS CAST(CASE length(text) WHEN 4 THEN text || '-01-01' WHEN 7 THEN text || '-01' ELSE left(text, 19) END AS TIMESTAMP);
CREATE MACRO vocabulary(system) AS CASE
    WHEN system LIKE '%snomed%' THEN 'SNOMED' WHEN system LIKE '%loinc%' THEN 'LOINC' WHEN system LIKE '%rxnorm%' THEN 'RXNORM'
    WHEN system LIKE '%icd-10%' THEN 'ICD10CM' WHEN system LIKE '%icd-9%' THEN 'ICD9CM' WHEN system LIKE '%/cvx%' THEN 'CVX'
    WHEN system LIKE '%/ndc%' THEN 'NDC' WHEN system LIKE '%/atc%' OR system LIKE '%whocc%' THEN 'ATC'
    ELSE coalesce(regexp_extract(system, '([^/:]+)/?$', 1), 'LOCAL') END;

CREATE TEMP TABLE patients AS SELECT r->>'id' AS subject, r FROM resources WHERE kind = 'Patient';
INSERT INTO events SELECT subject, NULL, 'GENDER//' || upper(r->>'gender'), NULL FROM patients;
INSERT INTO events
SELECT subject, NULL, CASE WHEN url LIKE '%race' THEN 'RACE//' ELSE 'ETHNICITY//' END || upper(e->>'$.extension[0].valueCoding.display'), NULL
FROM (SELECT subject, unnest(json_extract(r, '$.extension[*]')) AS e, e->>'url' AS url FROM patients)
WHERE url LIKE '%us-core-race' OR url LIKE '%us-core-ethnicity';
INSERT INTO events SELECT subject, moment(r->>'birthDate'), 'MEDS_BIRTH', NULL FROM patients WHERE r->>'birthDate' IS NOT NULL;
INSERT INTO events
SELECT subject, moment(r->>'deceasedDateTime'), 'MEDS_DEATH', NULL FROM patients WHERE r->>'deceasedDateTime' IS NOT NULL;

CREATE TEMP TABLE coded AS
SELECT patient_of(r) AS subject, kind, r,
    coalesce(json_extract(r, '$.code.coding[0]'), json_extract(r, '$.medicationCodeableConcept.coding[0]'),
        json_extract(r, '$.vaccineCode.coding[0]'), json_extract(r, '$.type[0].coding[0]')) AS c,
    moment(coalesce(r->>'onsetDateTime', r->>'$.onsetPeriod.start', r->>'effectiveDateTime', r->>'$.effectivePeriod.start', r->>'performedDateTime',
        r->>'$.performedPeriod.start', r->>'occurrenceDateTime', r->>'authoredOn', r->>'$.period.start', r->>'recordedDate', r->>'issued')) AS time,
    concat_ws('//', CASE kind WHEN 'Encounter' THEN 'ENCOUNTER//' || coalesce(r->>'$.class.code', 'UNK') WHEN 'Condition' THEN 'DIAGNOSIS'
        WHEN 'Observation' THEN 'LAB' WHEN 'Procedure' THEN 'PROCEDURE' WHEN 'Immunization' THEN 'IMMUNIZATION'
        WHEN 'AllergyIntolerance' THEN 'ALLERGY' ELSE 'MEDICATION' END,
        CASE WHEN kind != 'Encounter' THEN vocabulary(c->>'system') END, coalesce(c->>'code', 'UNK'), r->>'$.valueQuantity.unit') AS code
FROM resources WHERE kind != 'Patient' AND coalesce(r->>'status', '') != 'entered-in-error';
-- What happened in a visit has its time: the visit is written first.
INSERT INTO events
SELECT subject, time, code, TRY_CAST(r->>'$.valueQuantity.value' AS FLOAT) FROM coded ORDER BY kind != 'Encounter', rowid;
-- Blood pressure and panels are components of one observation.
INSERT INTO events
SELECT subject, time, concat_ws('//', 'LAB', vocabulary(part->>'$.code.coding[0].system'), part->>'$.code.coding[0].code', part->>'$.valueQuantity.unit'),
    TRY_CAST(part->>'$.valueQuantity.value' AS FLOAT)
FROM (SELECT subject, time, unnest(json_extract(r, '$.component[*]')) AS part FROM coded WHERE kind = 'Observation');

INSERT INTO labels SELECT code, c->>'display' FROM coded WHERE c->>'display' IS NOT NULL;
INSERT INTO labels
SELECT concat_ws('//', 'LAB', vocabulary(part->>'$.code.coding[0].system'), part->>'$.code.coding[0].code', part->>'$.valueQuantity.unit'),
    part->>'$.code.coding[0].display'
FROM (SELECT unnest(json_extract(r, '$.component[*]')) AS part FROM coded WHERE kind = 'Observation');
