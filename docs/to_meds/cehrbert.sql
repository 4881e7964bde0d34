-- CEHR-BERT and CEHR-GPT: patient_sequence (one row a person, lists of equal length), written by cehrbert_data. Its tokens of time and of visits
-- (VS, VE, W2, M3, LT, i-D1, year:, age:) become times. The day is known where there are epoch_times, else the week (dates: weeks since 1970).
-- needs: patient_sequence
-- CONCEPT of OMOP may lie beside it: then codes are VOCABULARY//code, else OMOP//concept_id.

CREATE TEMP TABLE sequences AS
SELECT * FROM patient_sequence QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY len(concept_ids) DESC) = 1;
-- A column that this version of cehrbert_data did not write is a list of nothing.
CREATE TEMP TABLE lists AS
SELECT * FROM (SELECT NULL::BIGINT[] AS epoch_times, NULL::INTEGER[] AS dates, NULL::FLOAT[] AS number_as_values, NULL::FLOAT[] AS concept_values WHERE false)
UNION ALL BY NAME SELECT * FROM sequences;
CREATE TEMP TABLE tokens AS
SELECT CAST(person_id AS VARCHAR) AS subject, unnest(range(1, len(concept_ids) + 1)) AS place, concept_ids[place] AS token, ages[place] AS age,
    coalesce(make_timestamp(CAST(epoch_times[place] AS BIGINT) * 1000000), make_timestamp(CAST(dates[place] AS BIGINT) * 604800000000)) AS time,
    CASE WHEN concept_value_masks[place] = 1 THEN coalesce(number_as_values[place], concept_values[place]) END AS value
FROM lists;

INSERT INTO events
SELECT subject, NULL, CASE token WHEN '8507' THEN 'GENDER//M' ELSE 'GENDER//F' END, NULL FROM tokens WHERE token IN ('8507', '8532') AND place <= 4;
-- Born so many years before the first visit: right to the year.
INSERT INTO events
SELECT subject, date_trunc('year', min(time)) - to_years(CAST(arg_min(age, place) AS INTEGER)), 'MEDS_BIRTH', NULL
FROM tokens WHERE age >= 0 GROUP BY subject;
INSERT INTO events
SELECT subject, time, CASE WHEN token LIKE '%DEATH%' THEN 'MEDS_DEATH' WHEN regexp_full_match(token, '\d+') THEN 'OMOP//' || token ELSE token END, value
FROM tokens
WHERE age >= 0 AND NOT regexp_full_match(token, '\[?(VS|VE|LT|START|END)\]?|[DWMY]\d+|(VS-|i-).*|(year|age):.*')
ORDER BY subject, place;

INSERT INTO labels
SELECT code, concept_name FROM (SELECT DISTINCT code FROM events WHERE code LIKE 'OMOP//%')
JOIN concept ON CAST(concept_id AS VARCHAR) = split_part(code, '//', 2);
UPDATE labels SET code = vocabulary_id || '//' || concept_code FROM concept WHERE code = 'OMOP//' || CAST(concept_id AS VARCHAR);
UPDATE events SET code = vocabulary_id || '//' || concept_code FROM concept WHERE code = 'OMOP//' || CAST(concept_id AS VARCHAR);
