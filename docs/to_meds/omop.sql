-- OMOP CDM 5.3 and 5.4: its tables as CSV or Parquet, with the vocabulary's CONCEPT. Codes are standard concepts,
-- VOCABULARY//code; where a record has none, the words of the source (SOURCE//...).
-- needs: person, concept
-- Left out: notes, devices, specimens, costs, eras (they are derived), ends of visits and prescriptions.

CREATE TEMP TABLE occurrences (subject VARCHAR, time TIMESTAMP, head VARCHAR, concept VARCHAR, source VARCHAR, value VARCHAR, unit VARCHAR);

INSERT INTO events
SELECT person_id, coalesce(
    TRY_CAST(birth_datetime AS TIMESTAMP),
    make_timestamp(CAST(year_of_birth AS BIGINT), coalesce(TRY_CAST(month_of_birth AS BIGINT), 7), coalesce(TRY_CAST(day_of_birth AS BIGINT), 1), 0, 0, 0)
), 'MEDS_BIRTH', NULL FROM person;
INSERT INTO occurrences SELECT person_id, NULL, 'GENDER', gender_concept_id, gender_source_value, NULL, NULL FROM person;
INSERT INTO occurrences SELECT person_id, NULL, 'RACE', race_concept_id, race_source_value, NULL, NULL FROM person;
INSERT INTO occurrences SELECT person_id, NULL, 'ETHNICITY', ethnicity_concept_id, ethnicity_source_value, NULL, NULL FROM person;

INSERT INTO occurrences
SELECT person_id, coalesce(TRY_CAST(visit_start_datetime AS TIMESTAMP), CAST(visit_start_date AS TIMESTAMP)), 'VISIT',
    visit_concept_id, visit_source_value, NULL, NULL FROM visit_occurrence;
INSERT INTO occurrences
SELECT person_id, coalesce(TRY_CAST(condition_start_datetime AS TIMESTAMP), CAST(condition_start_date AS TIMESTAMP)), 'DIAGNOSIS',
    condition_concept_id, condition_source_value, NULL, NULL FROM condition_occurrence;
INSERT INTO occurrences
SELECT person_id, coalesce(TRY_CAST(drug_exposure_start_datetime AS TIMESTAMP), CAST(drug_exposure_start_date AS TIMESTAMP)), 'MEDICATION',
    drug_concept_id, drug_source_value, NULL, NULL FROM drug_exposure;
INSERT INTO occurrences
SELECT person_id, coalesce(TRY_CAST(procedure_datetime AS TIMESTAMP), CAST(procedure_date AS TIMESTAMP)), 'PROCEDURE',
    procedure_concept_id, procedure_source_value, NULL, NULL FROM procedure_occurrence;
INSERT INTO occurrences
SELECT person_id, coalesce(TRY_CAST(measurement_datetime AS TIMESTAMP), CAST(measurement_date AS TIMESTAMP)), 'LAB',
    measurement_concept_id, measurement_source_value, value_as_number, unit_source_value FROM measurement;
INSERT INTO occurrences
SELECT person_id, coalesce(TRY_CAST(observation_datetime AS TIMESTAMP), CAST(observation_date AS TIMESTAMP)), 'OBSERVATION',
    observation_concept_id, observation_source_value, value_as_number, unit_source_value FROM observation;

-- Concept 0 is OMOP's "no matching concept".
INSERT INTO events
SELECT subject, time, CASE
    WHEN head IN ('GENDER', 'RACE', 'ETHNICITY') THEN head || '//' || coalesce(upper(concept_name), source, 'UNK')
    ELSE concat_ws('//', head, coalesce(vocabulary_id, 'SOURCE'), coalesce(concept_code, source, 'UNK'), unit) END, TRY_CAST(value AS FLOAT)
FROM occurrences LEFT JOIN (FROM concept WHERE CAST(concept_id AS VARCHAR) != '0') ON CAST(concept_id AS VARCHAR) = concept;
INSERT INTO events
SELECT person_id, coalesce(TRY_CAST(death_datetime AS TIMESTAMP), CAST(death_date AS TIMESTAMP)), 'MEDS_DEATH', NULL FROM death;

INSERT INTO labels
SELECT code, any_value(concept_name)
FROM (SELECT DISTINCT code, split_part(code, '//', 2) AS vocabulary_id, split_part(code, '//', 3) AS concept_code FROM events)
JOIN concept USING (vocabulary_id, concept_code) GROUP BY code;
